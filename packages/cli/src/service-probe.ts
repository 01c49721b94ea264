/** Asks the admin port of a service for its readiness and its counters. */
import { fetchText, type MetricsSample, readMetrics, requestProblem } from '@customer-stream/runtime'

export const SERVICE_KINDS = ['ingress', 'projector', 'reader'] as const
export type ServiceKind = (typeof SERVICE_KINDS)[number]

export interface ServiceAddress {
  readonly kind: ServiceKind
  /** Address of the admin port, such as `http://127.0.0.1:9464`. */
  readonly url: string
  /** ADMIN_TOKEN of the service, if the service demands a token. */
  readonly token?: string
}

export interface ServiceStatus extends Omit<ServiceAddress, 'token'> {
  readonly state: 'ready' | 'not-ready' | 'no-answer'
  /** Failed checks, each with its detail, or the reason why the service did not answer. */
  readonly problems: readonly string[]
  /** Details of passed checks, such as the progress of a fill. */
  readonly details: readonly string[]
}

interface Check {
  readonly name: string
  readonly ready: boolean
  readonly detail?: string
}

/** Parses the answer of /readyz. Undefined if it is the answer of another program. */
const checksOf = (text: string): readonly Check[] | undefined => {
  try {
    const { checks } = JSON.parse(text)
    const isCheck = (check: unknown) => {
      const { name, ready, detail } = Object(check)
      return typeof name === 'string' && typeof ready === 'boolean' && ['undefined', 'string'].includes(typeof detail)
    }
    return Array.isArray(checks) && checks.every(isCheck) ? checks : undefined
  } catch {
    return undefined
  }
}

/** The answer of /readyz to a request without the token. */
const STATUS_ALONE = /^\{"status":"(?:not-)?ready"\}$/

/** Asks for the readiness. Never rejects. */
export const askReadiness = async ({ kind, url, token }: ServiceAddress): Promise<ServiceStatus> => {
  const silent = (problem: string): ServiceStatus => ({
    kind,
    url,
    state: 'no-answer',
    problems: [problem],
    details: [],
  })
  try {
    const { code, text } = await fetchText(`${url}/readyz`, token)
    const checks = checksOf(text)
    if (checks === undefined && STATUS_ALONE.test(text))
      return silent(`answers ${code}, but shows its checks only to a request with its ADMIN_TOKEN`)
    if (checks === undefined)
      return silent(`answers ${code}, but not as an admin port does. Give the address of the admin port (ADMIN_PORT)`)
    const failed = checks.filter(({ ready }) => !ready)
    return {
      kind,
      url,
      state: code === 200 && failed.length === 0 ? 'ready' : 'not-ready',
      problems: failed.map(({ name, detail }) => (detail === undefined ? name : `${name}: ${detail}`)),
      details: checks.flatMap(({ ready, detail }) => (ready && detail !== undefined ? [detail] : [])),
    }
  } catch (error) {
    return silent(`does not answer: ${requestProblem(error)}. Check that the service runs, and its ADMIN_PORT`)
  }
}

/** Reads the metrics. Undefined if the service does not answer. */
export const askMetrics = async ({ url, token }: ServiceAddress): Promise<MetricsSample | undefined> => {
  try {
    const { code, text } = await fetchText(`${url}/metrics`, token)
    return code === 200 ? readMetrics(text, performance.now()) : undefined
  } catch {
    return undefined
  }
}
