import { createThrottledLog, type Logger } from '@customer-stream/runtime'
import type { Refusal } from './app.ts'
import { type Problem, problems } from './problem.ts'
import type { Suspicion } from './webhook-route.ts'

/** Instructions for problems that lose events until a person acts. */
const advice: Partial<Record<Problem, string>> = {
  unauthenticated: 'compare MYKAARMA_SIGNING_SECRETS and MYKAARMA_TOKENS with the secrets and tokens of the sender',
  'forbidden-address':
    'if the sender has this address, add it to MYKAARMA_ALLOWED_ADDRESSES; if the peer is a proxy, add the peer to ' +
    'TRUSTED_PROXIES',
  'not-found': 'give the sender the URL with the path /webhooks/mykaarma',
  'method-not-allowed': 'the sender must use POST',
  'too-large': 'raise MAX_BODY_BYTES of ingress and projector, and max.message.bytes of the topics',
  incomplete: 'look for a proxy or a time limit that interrupts requests',
  'request-timeout': 'look for a slow network or proxy; REQUEST_TIMEOUT_MS is the limit',
  'malformed-json':
    'a copy of the body is in quarantine; if the sender uses another charset than UTF-8, see MYKAARMA_CHARSET',
  unroutable: 'a copy of the body is in quarantine; the header `reason` of this record says why',
}

const MAX_CHARACTERS = 200

/** Programs that connect logs with traces look for the field `trace_id`. */
export const traceFields = (traceId: string | undefined) => traceId !== undefined && { trace_id: traceId }

const INTERVAL_MS = 10_000
/**
 * Maximum number of addresses that have their own throttled log. Above this number, the log forgets
 * the address whose last refusal is the oldest.
 */
const MAX_ADDRESSES = 1000
/** Maximum log lines in one interval about requests that a stranger can send. */
const MAX_CLAIMED_LINES = 20

const cut = (text: string | undefined) => text?.slice(0, MAX_CHARACTERS)

/**
 * Logs refused requests that have the sender's headers, and requests of forbidden addresses. Writes
 * at most one line for each problem and address in ten seconds. All requests that a stranger can
 * send share one limit, because a stranger may have many addresses. These requests have no effect
 * on the lines of the proven sender.
 */
export const createRefusalLog = (logger: Logger): ((refusal: Refusal) => void) => {
  let intervalEndsAt = 0
  let claimedLines = 0
  const hasRoom = () => {
    const now = performance.now()
    if (now >= intervalEndsAt) {
      intervalEndsAt = now + INTERVAL_MS
      claimedLines = 0
    }
    return claimedLines < MAX_CLAIMED_LINES
  }
  const newLog = () =>
    createThrottledLog<Refusal>(({ path, contentType, forwardedFor, traceId, ...fields }) => {
      if (fields.sender === 'claimed') claimedLines += 1
      const { status, title } = problems[fields.problem]
      const todo = advice[fields.problem]
      logger.warn(
        {
          event: 'request-refused',
          status,
          path: cut(path),
          contentType: cut(contentType),
          forwardedFor: cut(forwardedFor),
          ...traceFields(traceId),
          ...fields,
        },
        `A request was refused with ${status}: ${title}${todo === undefined ? '' : ` To correct this: ${todo}.`}`,
      )
    }, INTERVAL_MS)
  const proven = new Map<Problem, ReturnType<typeof newLog>>()
  // Sorted by the time of the last use.
  const claimed = new Map<string, ReturnType<typeof newLog>>()

  return (refusal) => {
    const { problem, sender, address } = refusal
    if (sender === 'proven') {
      const log = proven.get(problem) ?? newLog()
      proven.set(problem, log)
      return log(refusal)
    }
    const key = `${problem} ${address}`
    const log = claimed.get(key) ?? newLog()
    claimed.delete(key)
    claimed.set(key, log)
    const [oldest] = claimed.keys()
    if (claimed.size > MAX_ADDRESSES && oldest !== undefined) claimed.delete(oldest)
    if (hasRoom()) log(refusal)
  }
}

const suspicions: Record<Suspicion['what'], string> = {
  'old-timestamp':
    'An event was stored, but its timestamp is before 2001, perhaps in seconds instead of milliseconds. The event is ' +
    'not applied if its customer has any other event, because the other event then counts as newer. Ask the sender.',
  'type-spelling':
    'An event was stored, but not applied: its type differs from a known type only in spelling. Ask the sender ' +
    'whether it means the known type.',
}

/**
 * Logs events that will probably never be applied: at most one line for each kind in ten seconds.
 */
export const createSuspicionLog = (logger: Logger): ((suspicion: Suspicion) => void) => {
  const log = (what: Suspicion['what']) =>
    createThrottledLog<Suspicion>((fields) => logger.warn({ event: 'suspicious-event', ...fields }, suspicions[what]))
  const logs = { 'old-timestamp': log('old-timestamp'), 'type-spelling': log('type-spelling') }
  return (suspicion) => logs[suspicion.what](suspicion)
}
