import { scaleLinear, scaleLog } from 'd3-scale'
import type { Curve } from '../questions/question.ts'
import { escapeXml, picture, px } from './svg.ts'

const WIDTH = 760
const HEIGHT = 420
const LEFT = 80
const RIGHT = WIDTH - 30
const BOTTOM = HEIGHT - 60
const LEGEND_TOP = 50
const ROW = 20
// Palette of Okabe and Ito. Colour-blind readers can distinguish these colours.
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00']
const STYLE =
  '.axis,.tick{stroke:#57606a}.grid{stroke:#d8dee4}.y{text-anchor:end}.x{text-anchor:middle}' +
  '.line{fill:none;stroke-width:2}'

const label = (value: number): string => value.toLocaleString('en-US', { maximumSignificantDigits: 4 })

/**
 * Returns the measured values as labels of the axis, or round values if there are more than 12.
 * Leaves out labels that would overlap.
 */
const xTicks = (measured: readonly number[], round: readonly number[], at: (x: number) => number): number[] => {
  const kept: number[] = []
  for (const x of measured.length <= 12 ? measured : round) {
    const last = kept.at(-1)
    const room = 7 * label(x).length + 8
    if (last === undefined || at(x) - at(last) >= room) kept.push(x)
  }
  return kept
}

const legend = (names: readonly string[]): { readonly body: string; readonly rows: number } => {
  let x = LEFT
  let row = 0
  const entries = names.map((name, i) => {
    const width = 34 + 7 * name.length
    if (x > LEFT && x + width > RIGHT) {
      x = LEFT
      row++
    }
    const y = LEGEND_TOP + row * ROW
    const colour = COLOURS[i % COLOURS.length]
    const entry = `<rect x="${x}" y="${y - 5}" width="14" height="4" fill="${colour}"/>`
    const text = `<text x="${x + 20}" y="${y + 1}">${escapeXml(name)}</text>`
    x += width
    return entry + text
  })
  return { body: entries.join('\n'), rows: row + 1 }
}

/**
 * Draws the median as a line with dots, and the range of readings as a band. y starts at 0, so that
 * heights are comparable.
 */
export const plot = (curve: Curve): string => {
  const allPoints = curve.series.flatMap((each) => each.points)
  const xs = [...new Set(allPoints.map(({ x }) => x))].sort((a, b) => a - b)
  const span = [xs[0] ?? 0, xs.at(-1) ?? 1]
  if (curve.logX && !(span[0]! > 0)) throw new Error(`${curve.name}: a logarithmic axis has no ${span[0]}.`)
  const { body: names, rows } = legend(curve.series.map(({ name }) => name))
  const top = LEGEND_TOP + rows * ROW
  const xScale = (curve.logX ? scaleLog() : scaleLinear()).domain(span).range([LEFT + 15, RIGHT - 15])
  const yScale = scaleLinear([0, Math.max(...allPoints.map(({ y }) => y.max))], [BOTTOM, top]).nice(6)
  const at = (x: number, y: number): string => `${px(xScale(x))},${px(yScale(y))}`

  const horizontal = yScale
    .ticks(6)
    .map((y) => {
      const height = px(yScale(y))
      const line = `<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${height}" y2="${height}"/>`
      return `${line}<text class="y" x="${LEFT - 8}" y="${height + 4}">${label(y)}</text>`
    })
    .join('\n')
  const vertical = xTicks(xs, xScale.ticks(6), xScale)
    .map((x) => {
      const across = px(xScale(x))
      const line = `<line class="tick" x1="${across}" x2="${across}" y1="${BOTTOM}" y2="${BOTTOM + 5}"/>`
      return `${line}<text class="x" x="${across}" y="${BOTTOM + 20}">${label(x)}</text>`
    })
    .join('\n')
  const series = curve.series
    .map(({ points }, i) => {
      const colour = COLOURS[i % COLOURS.length]
      const sorted = points.toSorted((a, b) => a.x - b.x)
      const band = [
        ...sorted.map(({ x, y }) => at(x, y.max)),
        ...sorted.toReversed().map(({ x, y }) => at(x, y.min)),
      ].join(' ')
      const line = sorted.map(({ x, y }) => at(x, y.median)).join(' ')
      const dots = sorted.map(({ x, y }) => {
        const tooltip = `${label(x)}: ${label(y.median)} (${label(y.min)} to ${label(y.max)})`
        const place = `cx="${px(xScale(x))}" cy="${px(yScale(y.median))}"`
        return `<circle ${place} r="3.5"><title>${tooltip}</title></circle>`
      })
      return [
        `<g fill="${colour}" stroke="${colour}">`,
        `<polygon points="${band}" fill-opacity="0.15" stroke-opacity="0.25"/>`,
        `<polyline class="line" points="${line}"/>`,
        ...dots,
        '</g>',
      ].join('')
    })
    .join('\n')
  const middle = (top + BOTTOM) / 2
  const axes = `<line class="axis" x1="${LEFT}" x2="${RIGHT}" y1="${BOTTOM}" y2="${BOTTOM}"/>
<text class="x" x="${(LEFT + RIGHT) / 2}" y="${HEIGHT - 18}">${escapeXml(curve.x)}</text>
<text class="x" transform="translate(22 ${middle}) rotate(-90)">${escapeXml(curve.y)}</text>`
  return picture(WIDTH, HEIGHT, curve.title, STYLE, [names, horizontal, vertical, axes, series].join('\n'))
}
