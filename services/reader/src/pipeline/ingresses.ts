/** Asks the admin ports of the ingresses for their counts of requests. */
import { lookup } from 'node:dns/promises'
import { fetchText, readMetrics, requestProblem } from '@customer-stream/runtime'
import type { IngressCounts } from './measurement.ts'

export interface IngressesSettings {
  readonly INGRESS_ADMIN_URLS: readonly string[]
  /** May change while the process runs. */
  readonly ADMIN_TOKEN?: string | undefined
}

export interface IngressAnswers {
  /** Undefined if no ingress is named, or if the counts of one ingress are not known. */
  readonly ingresses: ReadonlyMap<string, IngressCounts> | undefined
  /** A sentence about each ingress without an answer. */
  readonly problems: readonly string[]
}

/** Returns the addresses of a host name, IPv4 first. */
type Find = (hostname: string) => Promise<readonly { readonly address: string; readonly family: number }[]>

const findAddresses: Find = (hostname) => lookup(hostname, { all: true, order: 'ipv4first' })

/**
 * Returns a URL for each address of the host name, because several ingresses may have one name.
 * With both kinds of addresses, returns only IPv4. Otherwise an ingress would count twice.
 */
const urlsOf = async (url: string, find: Find): Promise<readonly string[]> => {
  const { protocol, hostname, port } = new URL(url)
  // Keep the host name, because the certificate has this name.
  if (protocol === 'https:') return [url]
  const found = await find(hostname.replace(/^\[|\]$/g, ''))
  const path = new URL(url).pathname.replace(/\/$/, '')
  return found
    .filter(({ family }) => family === found[0]?.family)
    .map(({ address, family }) => `http://${family === 6 ? `[${address}]` : address}:${port || 80}${path}`)
}

/** Problems that are answered with 5xx. The 4xx answers to the sender have a separate metric. */
const SERVER_PROBLEMS = ['unavailable', 'too-many-bodies', 'internal-error']

const countsOf = async (url: string, token: string | undefined): Promise<IngressCounts> => {
  const { code, text } = await fetchText(`${url}/metrics`, token)
  if (code === 401) throw new Error('it has another ADMIN_TOKEN')
  const { sum } = readMetrics(text, performance.now())
  if (code !== 200 || !text.includes('ingress_answers_total')) throw new Error('the answer is not that of an ingress')
  const answers = (answer: string) => sum('ingress_answers_total', { answer })
  return {
    accepted: answers('accepted'),
    refused: SERVER_PROBLEMS.map(answers).reduce((a, b) => a + b, sum('ingress_sender_refusals_total')),
    eventsAtRisk: sum('ingress_events_at_risk'),
  }
}

/** Asks all ingresses. Never rejects. */
export const askIngresses = async (settings: IngressesSettings, find = findAddresses): Promise<IngressAnswers> => {
  const { INGRESS_ADMIN_URLS: named, ADMIN_TOKEN: token } = settings
  if (named.length === 0) return { ingresses: undefined, problems: [] }
  const problems: string[] = []
  const ingresses = new Map<string, IngressCounts>()
  const attempt = (url: string, work: () => Promise<unknown>) =>
    work().catch((error: Error) =>
      problems.push(
        `the ingress ${url} gives no counts of requests: ${requestProblem(error)}. Check that it runs, and ` +
          'INGRESS_ADMIN_URLS.',
      ),
    )
  const askOne = async (url: string) => ingresses.set(url, await countsOf(url, token))
  await Promise.all(
    named.map((name) =>
      attempt(name, async () => Promise.all((await urlsOf(name, find)).map((url) => attempt(url, () => askOne(url))))),
    ),
  )
  return { ingresses: problems.length === 0 ? ingresses : undefined, problems }
}
