import { scaleLinear } from 'd3-scale'
import { escapeXml, px } from '../../bench/report/svg.ts'

export interface Line {
  readonly name: string
  /** Pairs of Unix seconds and value. */
  readonly points: readonly (readonly [time: number, value: number])[]
}

export interface PanelData {
  readonly title: string
  readonly unit: string
  readonly steps: boolean
  readonly lines: readonly Line[]
}

/** Beginning and end of the time axis, and starts of faults (`marks`). All in Unix seconds. */
export interface Span {
  readonly from: number
  readonly to: number
  readonly marks: readonly number[]
}

export const PANEL_WIDTH = 420
const LEFT = 62
const RIGHT = PANEL_WIDTH - 14
const TOP = 44
const PLOT_HEIGHT = 130
const ROW = 16
const BAR = 13
/** Maximum value of a line that is drawn as a bar. */
const MAX_AS_BAR = 4
/** Maximum number of lines in the legend. All other lines are grey. */
const MAX_NAMED = 8
// Palette of Okabe and Ito. Colour-blind readers can distinguish these colours.
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#8c6d31', '#4d4d4d']
const OTHER_COLOUR = '#b0b7be'

export const PANEL_STYLE =
  '.grid{stroke:#d8dee4}.mark{stroke:#8c959f;stroke-dasharray:2 3}.n{font-size:9px;fill:#57606a;text-anchor:middle}' +
  '.y{text-anchor:end;font-size:11px}.x{text-anchor:middle;font-size:11px}.name{font-size:11px}' +
  '.on{paint-order:stroke;stroke:#fff;stroke-width:3px}.head{font-weight:600}.line{fill:none;stroke-width:1.6}'

const short = (value: number): string => value.toLocaleString('en-US', { maximumSignificantDigits: 3 })
const format = (value: number, unit: string): string => {
  if (unit === 'bytes') return value >= 2 ** 20 ? `${short(value / 2 ** 20)} MiB` : `${short(value / 1024)} KiB`
  if (unit === 's') return value > 0 && value < 1 ? `${short(value * 1000)} ms` : `${short(value)} s`
  return unit === 'reqps' || unit === 'cps' ? `${short(value)}/s` : short(value)
}

const highest = ({ points }: Line): number => Math.max(0, ...points.map(([, value]) => value))

/**
 * Maximum time between two connected points. After a longer time, the series had no value in
 * between.
 */
const gapOf = ({ from, to }: Span): number => Math.max(5, ((to - from) / 400) * 2.5)

/** Splits a line where its series had no value. */
const parts = (line: Line, span: Span): Line['points'][] => {
  const found: [number, number][][] = []
  let before = Number.NEGATIVE_INFINITY
  for (const [time, value] of line.points) {
    if (time - before > gapOf(span)) found.push([])
    found.at(-1)?.push([time, value])
    before = time
  }
  return found
}

/** Leaves out points between two equal values. */
const withoutRepeats = (points: Line['points']): Line['points'] =>
  points.filter(([, value], i) => value !== points[i - 1]?.[1] || value !== points[i + 1]?.[1])

type Scale = (value: number) => number

const path = (points: Line['points'], steps: boolean, x: Scale, y: Scale): string =>
  withoutRepeats(points)
    .map(([time, value], i) => {
      const [across, height] = [px(x(time)), px(y(value))]
      if (i === 0) return `M${across} ${height}`
      return steps ? `H${across}V${height}` : `L${across} ${height}`
    })
    .join('')

const timeAxis = (x: Scale, { from, to, marks }: Span, bottom: number): string => {
  const minutes = scaleLinear([0, (to - from) / 60], [0, 1]).ticks(6)
  const ticks = minutes.map(
    (minute) => `<text class="x" x="${px(x(from + 60 * minute))}" y="${bottom + 14}">${minute}</text>`,
  )
  const faults = marks.map((at, i) => {
    const across = px(x(at))
    const line = `<line class="mark" x1="${across}" x2="${across}" y1="${TOP}" y2="${bottom}"/>`
    return `${line}<text class="n" x="${across}" y="${TOP - 3}">${i + 1}</text>`
  })
  return [...ticks, `<text class="y" x="${RIGHT}" y="${bottom + 26}">minutes</text>`, ...faults].join('')
}

const valueAxis = (y: Scale, ticks: readonly number[], unit: string): string =>
  ticks
    .map((value) => {
      const height = px(y(value))
      const line = `<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${height}" y2="${height}"/>`
      return `${line}<text class="y" x="${LEFT - 6}" y="${height + 4}">${format(value, unit)}</text>`
    })
    .join('')

const curves = ({ lines, steps, unit }: PanelData, span: Span, x: Scale): { body: string; height: number } => {
  const bottom = TOP + PLOT_HEIGHT
  const sorted = lines.toSorted((a, b) => highest(b) - highest(a))
  const y = scaleLinear([0, Math.max(...lines.map(highest)) || 1], [bottom, TOP]).nice(4)
  const drawn = sorted.map((line, i) => {
    const colour = COLOURS[i] ?? OTHER_COLOUR
    const whole = parts(line, span).map((points) => path(points, steps, x, y))
    return `<path class="line" stroke="${colour}" d="${whole.join('')}"/>`
  })
  const names = sorted.slice(0, MAX_NAMED).map(({ name }, i) => {
    const height = bottom + 44 + i * ROW
    const box = `<rect x="${LEFT}" y="${height - 7}" width="12" height="4" fill="${COLOURS[i]}"/>`
    return `${box}<text class="name" x="${LEFT + 18}" y="${height}">${escapeXml(name)}</text>`
  })
  const more = sorted.length - MAX_NAMED
  const rest =
    more > 0
      ? `<text class="name" x="${LEFT + 18}" y="${bottom + 44 + MAX_NAMED * ROW}">and ${more} more, in grey</text>`
      : ''
  return {
    body: [valueAxis(y, y.ticks(4), unit), timeAxis(x, span, bottom), ...drawn.toReversed(), ...names, rest].join('\n'),
    height: bottom + 44 + (names.length + (more > 0 ? 1 : 0)) * ROW,
  }
}

/** Draws series of 0 and 1. Each bar is a period in which a line was above 0. */
const bars = ({ lines }: PanelData, span: Span, x: Scale): { body: string; height: number } => {
  const begin = ({ points }: Line) => points.find(([, value]) => value > 0)?.[0] ?? Number.POSITIVE_INFINITY
  const sorted = lines.toSorted((a, b) => begin(a) - begin(b) || a.name.localeCompare(b.name))
  const bottom = TOP + sorted.length * BAR
  const rows = sorted.map((line, i) => {
    const height = TOP + i * BAR
    const times = parts({ ...line, points: line.points.filter(([, value]) => value > 0) }, span).map((points) => {
      const [start, end] = [x(points[0]![0]), x(points.at(-1)![0])]
      return `<rect x="${px(start)}" y="${height + 2}" width="${px(Math.max(2, end - start))}" height="${BAR - 4}"/>`
    })
    const middle = (x(span.from) + x(span.to)) / 2
    const after = begin(line) < span.from + (span.to - span.from) / 2
    const last = line.points.findLast(([, value]) => value > 0)?.[0] ?? span.from
    const at = after ? x(last) + 5 : Math.min(x(begin(line)), RIGHT) - 5
    const anchor = after && at < middle + 100 ? 'start' : 'end'
    const place = `x="${px(at)}" y="${height + BAR - 3}" text-anchor="${anchor}"`
    return `<g fill="#d55e00">${times.join('')}</g><text class="name on" ${place}>${escapeXml(line.name)}</text>`
  })
  return { body: [timeAxis(x, span, bottom), ...rows].join('\n'), height: bottom + 30 }
}

/**
 * Draws one panel at 0,0. Many series of 0 and 1 become bars, because their lines would cover each
 * other.
 */
export const drawPanel = (panel: PanelData, span: Span): { readonly body: string; readonly height: number } => {
  const x = scaleLinear([span.from, span.to], [LEFT, RIGHT])
  const head = `<text class="head" x="14" y="20">${escapeXml(panel.title)}</text>`
  if (panel.lines.length === 0) {
    const nothing = `<text class="name" x="${LEFT}" y="${TOP + PLOT_HEIGHT / 2}">no value in this time</text>`
    const axis = timeAxis(x, span, TOP + PLOT_HEIGHT)
    return { body: head + axis + nothing, height: TOP + PLOT_HEIGHT + 30 }
  }
  const asBars =
    panel.steps && panel.lines.length > MAX_NAMED && panel.lines.every((line) => highest(line) <= MAX_AS_BAR)
  const { body, height } = asBars ? bars(panel, span, x) : curves(panel, span, x)
  return { body: `${head}\n${body}`, height }
}
