const STYLE =
  'text{font:12px ui-sans-serif,system-ui,"DejaVu Sans",sans-serif;fill:#24292f}' +
  '.title{font-size:15px;font-weight:600}'

const head = (width: number, height: number, title: string): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
  `role="img" aria-label="${escapeXml(title)}">`

/** Creates an SVG without scripts and with its own background, for light and dark pages. */
export const picture = (width: number, height: number, title: string, style: string, body: string): string =>
  `${head(width, height, title)}
<style>${STYLE}${style}</style>
<rect width="${width}" height="${height}" rx="6" fill="#fff" stroke="#d0d7de"/>
<text class="title" x="20" y="28">${escapeXml(title)}</text>
${body}
</svg>
`

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character] ?? '&quot;')

/** Rounds to a tenth of a pixel. More decimals would only make the file larger. */
export const px = (value: number): number => Math.round(value * 10) / 10
