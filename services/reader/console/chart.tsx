/** A live chart, with a table of the same figures for a screen reader. */
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { formatClock } from './format.ts'
import { Scroll } from './scroll.tsx'

export interface ChartProps {
  readonly title: string
  /** Unix milliseconds. */
  readonly times: readonly number[]
  readonly format: (value: number | null) => string
  /** At most three series. An unknown value is null, and leaves a gap in the line. */
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[]
}

const HEIGHT = 220
const DASHES = [[], [], [2, 3]]

const styleOf = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name)

/**
 * Returns a colour of the theme as a plain colour, because a canvas supports neither CSS variables
 * nor `light-dark()`.
 */
const colourOf = (name: string, element: HTMLElement): string => {
  element.style.color = styleOf(name)
  return getComputedStyle(element).color
}

const dataOf = ({ times, series }: ChartProps): uPlot.AlignedData => [
  times.map((at) => at / 1000),
  ...series.map(({ values }) => [...values]),
]

const optionsOf = ({ series, format }: ChartProps, host: HTMLElement): uPlot.Options => {
  const [text, line] = [colourOf('--faint', host), colourOf('--line', host)]
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: '13px system-ui' }
  return {
    width: Math.max(200, host.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false },
    scales: { y: { range: (_plot, _min, max) => [0, Math.max(1, (max ?? 0) * 1.1)] } },
    axes: [
      {
        ...{ ...axis, space: 80, incrs: [10, 30, 60, 120, 300, 600, 900] },
        // Labels less than a minute apart need seconds.
        values: (_plot, times, _axis, _space, seconds) =>
          times.map((at) => formatClock(at * 1000).slice(0, seconds < 60 ? 8 : 5)),
      },
      { ...axis, size: 75, values: (_plot, values) => values.map(format) },
    ],
    series: [
      {},
      ...series.map((_each, i) => ({
        stroke: colourOf(`--series-${i + 1}`, host),
        width: 2,
        dash: DASHES[i] ?? [],
        points: { show: false },
      })),
    ],
  }
}

/** Returns one point of each minute, so that the table is short enough to read. */
const sampled = (times: readonly number[]): readonly number[] =>
  times.flatMap((at, i) => (i === times.length - 1 || at - (times[i - 1] ?? 0) > at % 60_000 ? [i] : [])).reverse()

const Table = ({ title, times, series, format }: ChartProps) => (
  <Scroll name={`Table: ${title}`}>
    <table>
      <thead>
        <tr>
          <th scope="col">Time</th>
          {series.map(({ name }) => (
            <th key={name} scope="col" class="number">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {sampled(times).map((i) => (
          <tr key={times[i]}>
            <th scope="row">{formatClock(times[i]!)}</th>
            {series.map(({ name, values }) => (
              <td key={name} class="number">
                {format(values[i] ?? null)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  </Scroll>
)

const Legend = ({ series, format }: ChartProps) => (
  <ul class="legend">
    {series.map(({ name, values }, i) => (
      <li key={name}>
        <svg viewBox="0 0 28 6" aria-hidden="true">
          <line
            x1="0"
            y1="3"
            x2="28"
            y2="3"
            stroke={`var(--series-${i + 1})`}
            stroke-dasharray={DASHES[i]?.join(' ')}
          />
        </svg>
        {name} <strong>{format(values.at(-1) ?? null)}</strong>
      </li>
    ))}
  </ul>
)

export const Chart = (props: ChartProps) => {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const isOpen = useSignal(false)
  // The effects below run once, and read the properties of the last render from this object.
  const latest = useRef(props)
  latest.current = props

  useEffect(() => {
    const element = host.current!
    const draw = () => {
      plot.current?.destroy()
      plot.current = new uPlot(optionsOf(latest.current, element), dataOf(latest.current), element)
    }
    draw()
    const theme = matchMedia('(prefers-color-scheme: dark)')
    theme.addEventListener('change', draw)
    const resizing = new ResizeObserver(() =>
      plot.current?.setSize({ width: Math.max(200, element.clientWidth), height: HEIGHT }),
    )
    resizing.observe(element)
    return () => {
      theme.removeEventListener('change', draw)
      resizing.disconnect()
      plot.current?.destroy()
    }
  }, [])
  useEffect(() => plot.current?.setData(dataOf(props)), [props.times])

  return (
    <figure class="card chart">
      <figcaption>
        <h2>{props.title}</h2>
      </figcaption>
      <Legend {...props} />
      {props.times.length === 0 && <p class="faint">The reader has no measurement yet.</p>}
      <div ref={host} aria-hidden="true" />
      <details
        onToggle={(event) => {
          isOpen.value = event.currentTarget.open
        }}
      >
        <summary>Figures as a table</summary>
        {isOpen.value && <Table {...props} />}
      </details>
    </figure>
  )
}
