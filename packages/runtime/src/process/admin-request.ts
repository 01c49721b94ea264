/** Requests to the admin port of another service. */

/** Values of a service's metrics. `at`: milliseconds of a monotonic clock. */
export interface MetricsSample {
  readonly at: number
  /** Returns the sum of the metric's series that have these labels. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number
  /** Returns the values of this label in the metric's series whose value is above 0. */
  labelsAbove0(name: string, label: string): string[]
}

const TIMEOUT_MS = 3000
/** Maximum size of an answer. The metrics of a service need about 100 kB. */
const MAX_BYTES = 8 * 1024 * 1024

/** Fetches a text of at most `MAX_BYTES`. Rejects if the text has not arrived after 3 s. */
export const fetchText = async (
  url: string,
  token?: string,
): Promise<{ readonly code: number; readonly text: string }> => {
  const response = await fetch(url, {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    redirect: 'error',
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
  })
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > MAX_BYTES) throw new Error(`the answer has more than ${MAX_BYTES} bytes`)
    parts.push(part)
  }
  return { code: response.status, text: Buffer.concat(parts).toString() }
}

/** Returns the cause of a failed request, e.g. `ECONNREFUSED`. */
export const requestProblem = (error: unknown): string => {
  const { name, message, cause } = error as Error & { cause?: { code?: string; message?: string } }
  if (name === 'TimeoutError') return `no answer within ${TIMEOUT_MS / 1000} s`
  return cause?.code ?? cause?.message ?? message
}

const SERIES = /^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)/

/** Reads the text format of Prometheus. */
export const readMetrics = (text: string, at: number): MetricsSample => {
  const series = text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = SERIES.exec(line) ?? []
    return name === undefined ? [] : [{ name, labels, value: Number(value) }]
  })
  return {
    at,
    sum: (name, labels = {}) =>
      series
        .filter((each) => each.name === name)
        .filter((each) => Object.entries(labels).every(([label, value]) => each.labels.includes(`${label}="${value}"`)))
        .reduce((total, { value }) => total + value, 0),
    labelsAbove0: (name, label) =>
      series
        .filter((each) => each.name === name && each.value > 0)
        .flatMap(({ labels }) => new RegExp(`(?:^|,)${label}="([^"]*)"`).exec(labels)?.[1] ?? []),
  }
}
