import { type Frame, PACKAGES, type Package } from './profile.ts'
import { escapeXml, picture, px } from './svg.ts'

const WIDTH = 1200
const MARGIN = 20
const ROW = 18
const TOP = 70
const CHARACTER = 6.7
/**
 * Minimum share of a frame. Narrower frames are left out, because they are invisible, but make the
 * file large.
 */
const NARROWEST = 0.002

const COLOURS: Readonly<Record<Package, string>> = {
  ours: '#f2a65a',
  kafkajs: '#7fb3d5',
  ioredis: '#e79a94',
  fastify: '#8fcf9f',
  'other packages': '#c9b3dd',
  node: '#d5d9de',
  gc: '#e8d36b',
}
const classOf = (name: Package): string => `p${PACKAGES.indexOf(name)}`
const FILLS = PACKAGES.map((name) => `.${classOf(name)}{fill:${COLOURS[name]}}`)
const STYLE = [
  '.f{font:11px ui-monospace,"DejaVu Sans Mono",monospace}g rect{stroke:#fff;stroke-width:.5}',
  ...FILLS,
].join('')

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

/**
 * Draws callers below callees. The width of a frame is the function's share of the busy time. The
 * tooltip has file and shares.
 */
export const flameGraph = (root: Frame, title: string): string => {
  const frames: { readonly frame: Frame; readonly x: number; readonly depth: number }[] = []
  const place = (frame: Frame, x: number, depth: number): void => {
    if (frame.totalMs < NARROWEST * root.totalMs) return
    frames.push({ frame, x, depth })
    let left = x
    for (const callee of [...frame.callees.values()].sort((a, b) => b.totalMs - a.totalMs)) {
      place(callee, left, depth + 1)
      left += callee.totalMs
    }
  }
  place(root, 0, 0)

  const scale = (WIDTH - 2 * MARGIN) / root.totalMs
  const floor = TOP + Math.max(...frames.map(({ depth }) => depth)) * ROW
  const drawn = frames.map(({ frame, x, depth }) => {
    const width = frame.totalMs * scale
    const left = MARGIN + x * scale
    const top = floor - depth * ROW
    const share = `${percent(frame.totalMs / root.totalMs)}, itself ${percent(frame.selfMs / root.totalMs)}`
    const room = Math.floor((width - 6) / CHARACTER)
    const text = frame.name.length > room ? `${frame.name.slice(0, room - 1)}…` : frame.name
    const box = `x="${px(left)}" y="${top}" width="${px(width)}" height="${ROW - 1}"`
    return [
      `<g><title>${escapeXml(`${frame.name} ${frame.file}`.trim())}: ${share}</title>`,
      `<rect class="${classOf(frame.package)}" ${box}/>`,
      room < 3 ? '' : `<text class="f" x="${px(left + 3)}" y="${top + 12}">${escapeXml(text)}</text>`,
      '</g>',
    ].join('')
  })
  const key = PACKAGES.map((name, i) => {
    const x = MARGIN + i * 120
    const box = `<rect class="${classOf(name)}" x="${x}" y="42" width="14" height="14"/>`
    return `${box}<text x="${x + 20}" y="53">${name}</text>`
  })
  return picture(WIDTH, floor + ROW + MARGIN, title, STYLE, [...key, ...drawn].join('\n'))
}
