import {
  addresses,
  choice,
  integer,
  type Loaded,
  namedSecrets,
  optionalText,
  portsRule,
  processRules,
  processSettings,
  quoted,
  type Rule,
  ratio,
  TRACES_STOP_MS,
} from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings, RECORD_OVERHEAD_BYTES } from '@customer-stream/runtime/kafka'
import { encodingOf } from '@customer-stream/schemas'

export const ingressSettings = {
  ...processSettings,
  PORT: integer({
    default: 8080,
    minimum: 0,
    maximum: 65535,
    description: 'Public port, for `POST /webhooks/mykaarma` and `GET /healthz`. 0 selects a free port.',
  }),
  MYKAARMA_AUTH: choice(['signature+token', 'signature', 'token', 'off', 'on'], {
    default: 'signature+token',
    description:
      'Checks that a request must pass. With `off`, any request is accepted. Use `off` only for development, never ' +
      'on the internet. `on` is the former name of `signature+token`.',
  }),
  MYKAARMA_SIGNING_SECRETS: namedSecrets({
    description:
      'Keys of the signature (HMAC-SHA256). Several keys may be valid at the same time, so that a key can be ' +
      'rotated. Required if `MYKAARMA_AUTH` checks the signature.',
  }),
  MYKAARMA_TOKENS: namedSecrets({
    description:
      'One or several accepted values of the header `x-authorization-token`. Required if `MYKAARMA_AUTH` checks the ' +
      'token.',
  }),
  MYKAARMA_CHARSET: optionalText({
    description:
      'Charset of bodies that declare no charset and are not UTF-8, for example `windows-1252`. Without this setting ' +
      'such bodies are unusable and go to quarantine.',
  }),
  MYKAARMA_ALLOWED_ADDRESSES: addresses({
    description:
      'Addresses that may send requests. Without this setting any address may send requests. This check does not ' +
      'replace the signature.',
  }),
  TRUSTED_PROXIES: addresses({
    description:
      'Addresses of proxies. If a request comes from one of these proxies, the ingress takes the sender’s address ' +
      'from `x-forwarded-for`.',
  }),
  MAX_BODY_BYTES: integer({
    default: 1_048_576,
    minimum: 1024,
    maximum: 16_777_216,
    description:
      'Maximum bytes of a request body. A larger body is refused with 413. With `SPOOL_DIR`, the largest allowed ' +
      'value is 16711680.',
  }),
  RECEIVE_MAX_BYTES: integer({
    default: 67_108_864,
    minimum: 1_048_576,
    maximum: 4_294_967_296,
    description:
      'Maximum memory, in bytes, for all request bodies that are still arriving. Above the limit, the ingress ' +
      'refuses one body with 503: the body that has received no data for the longest time. Must be ≥ `MAX_BODY_BYTES`.',
  }),
  ACCEPT_DEADLINE_MS: integer({
    default: 4000,
    minimum: 100,
    maximum: 4500,
    description:
      'Maximum time until the answer to a request. If the event is not stored within this time, the answer is 503. ' +
      'The sender closes the connection after 5 s.',
  }),
  MAX_CONNECTIONS: integer({
    default: 1000,
    minimum: 1,
    maximum: 100_000,
    description: 'Maximum connections to the public port. Further connections are refused.',
  }),
  REQUEST_TIMEOUT_MS: integer({
    default: 10_000,
    minimum: 1000,
    maximum: 300_000,
    description:
      'If a request has not arrived completely after this time, the answer is 408. The sender itself closes the ' +
      'connection after 5 s.',
  }),
  KEEP_ALIVE_TIMEOUT_MS: integer({
    default: 72_000,
    minimum: 1000,
    maximum: 3_600_000,
    description:
      'Time for which an idle connection stays open. Must be longer than the idle timeout of the ' +
      'load balancer (usually 60 s). Otherwise the load balancer writes a request into a ' +
      'closing connection, and answers 502.',
  }),
  QUEUE_MAX_RECORDS: integer({
    default: 10_000,
    minimum: 1,
    maximum: 1_000_000,
    description: 'Maximum records that wait to be sent to one topic of Kafka. Above the limit, requests get 503.',
  }),
  QUEUE_MAX_BYTES: integer({
    default: 67_108_864,
    minimum: 1_048_576,
    maximum: 4_294_967_296,
    description:
      'Maximum bytes that wait to be sent to one topic of Kafka. Above the limit, requests get 503. Must be ≥ ' +
      '`MAX_BODY_BYTES` + 64 KiB.',
  }),
  SPOOL_DIR: optionalText({
    description:
      'Folder on a disk that outlives the machine. If Kafka does not answer, the ingress stores events here, answers ' +
      '202, and sends the events later. Without this setting, the answer is then 503. Each process needs a folder of ' +
      'its own.',
  }),
  SPOOL_MAX_BYTES: integer({
    default: 1_073_741_824,
    minimum: 67_108_864,
    maximum: 1_099_511_627_776,
    description: 'Maximum bytes in `SPOOL_DIR`, including `.damaged` files. Above the limit, the answer is 503.',
  }),
  SPOOL_AFTER_MS: integer({
    default: 1000,
    minimum: 0,
    maximum: 4000,
    description:
      'Maximum time in which Kafka must store an event. After this time, the event goes to the spool. Must be < ' +
      '`ACCEPT_DEADLINE_MS`.',
  }),
  OTEL_TRACES_SAMPLER: choice(['parentbased_traceidratio', 'traceidratio'], {
    default: 'parentbased_traceidratio',
    description:
      'Decides which traces are exported. `traceidratio`: the ratio `OTEL_TRACES_SAMPLER_ARG` decides. ' +
      '`parentbased_traceidratio`: if an authentic request already has a trace, its sender decides. For all other ' +
      'requests, the ratio decides. The projector follows the decision of the ingress.',
  }),
  OTEL_TRACES_SAMPLER_ARG: ratio({ default: 1, description: 'Ratio of the traces that are exported, from 0 to 1.' }),
  ...kafkaSettings,
}

export type IngressSettings = Loaded<typeof ingressSettings>

/** Maximum bytes that wait to be written to the spool. */
export const SPOOL_WAITING_BYTES = 16 * 1024 * 1024

/** Time that a shutdown needs after the deadline of the last request. */
const AFTER_LAST_REQUEST_MS = 1000

/** Returns the checks that a request must pass for a value of MYKAARMA_AUTH. */
export const checksOf = (
  auth: IngressSettings['MYKAARMA_AUTH'],
): { readonly signature: boolean; readonly token: boolean } => ({
  signature: auth !== 'token' && auth !== 'off',
  token: auth !== 'signature' && auth !== 'off',
})

const requiredSecret =
  (name: 'MYKAARMA_SIGNING_SECRETS' | 'MYKAARMA_TOKENS', check: 'signature' | 'token'): Rule<typeof ingressSettings> =>
  (settings) =>
    !checksOf(settings.MYKAARMA_AUTH)[check] || settings[name].size > 0
      ? undefined
      : `${name} is missing: give at least one name=value, or switch off the check of the ${check}. ` +
        'MYKAARMA_AUTH=off switches off all checks, for development'

/** A header of a request has characters up to U+00FF, and Node refuses headers above 16 KiB. */
const HEADER_VALUE = /^[ -~\u00a0-\u00ff]{1,8192}$/

const largestRecordBytes = (settings: Pick<IngressSettings, 'MAX_BODY_BYTES'>): number =>
  settings.MAX_BODY_BYTES + RECORD_OVERHEAD_BYTES

/** Checks MYKAARMA_CHARSET, in each service that has this setting. */
export const charsetRule = (charset: string | undefined): string | undefined =>
  charset === undefined || encodingOf(charset) !== undefined
    ? undefined
    : `MYKAARMA_CHARSET: ${quoted(charset)} is not a charset of the Encoding Standard, such as windows-1252`

export const ingressRules: readonly Rule<typeof ingressSettings>[] = [
  ...processRules,
  portsRule,
  ...kafkaRules,
  (settings) => {
    const tracesMs = settings.OTEL_EXPORTER_OTLP_ENDPOINT === undefined ? 0 : TRACES_STOP_MS
    const afterMs = AFTER_LAST_REQUEST_MS + tracesMs
    const stopMs = settings.SHUTDOWN_DELAY_MS + settings.ACCEPT_DEADLINE_MS + afterMs
    if (stopMs > settings.SHUTDOWN_DEADLINE_MS)
      return (
        `SHUTDOWN_DEADLINE_MS must be at least SHUTDOWN_DELAY_MS + ACCEPT_DEADLINE_MS + ${afterMs} = ${stopMs}: ` +
        'otherwise requests would be cut off'
      )
  },
  (settings) => {
    const recordBytes = largestRecordBytes(settings)
    if (recordBytes > settings.QUEUE_MAX_BYTES)
      return (
        `QUEUE_MAX_BYTES must be at least MAX_BODY_BYTES + 64 KiB = ${recordBytes}: otherwise the largest body would ` +
        'never be stored'
      )
  },
  (settings) => {
    if (settings.SPOOL_DIR !== undefined && largestRecordBytes(settings) > SPOOL_WAITING_BYTES)
      return (
        `MAX_BODY_BYTES must be at most ${SPOOL_WAITING_BYTES - RECORD_OVERHEAD_BYTES} with SPOOL_DIR: a larger ` +
        'body would never be spooled'
      )
  },
  (settings) => {
    if (settings.SPOOL_DIR !== undefined && settings.SPOOL_AFTER_MS >= settings.ACCEPT_DEADLINE_MS)
      return 'SPOOL_AFTER_MS must be below ACCEPT_DEADLINE_MS: otherwise no event would ever go to the spool'
  },
  (settings) => {
    if (settings.MAX_BODY_BYTES > settings.RECEIVE_MAX_BYTES)
      return (
        `RECEIVE_MAX_BYTES must be at least MAX_BODY_BYTES = ${settings.MAX_BODY_BYTES}: otherwise the largest body ` +
        'would never arrive'
      )
  },
  ({ MYKAARMA_CHARSET }) => charsetRule(MYKAARMA_CHARSET),
  ({ MYKAARMA_TOKENS: tokens }) => {
    const [name] = [...tokens].find(([, token]) => !HEADER_VALUE.test(token)) ?? []
    if (name !== undefined)
      return `MYKAARMA_TOKENS: no header of a request can have the token of ${quoted(name)}, so no request would pass`
  },
  requiredSecret('MYKAARMA_SIGNING_SECRETS', 'signature'),
  requiredSecret('MYKAARMA_TOKENS', 'token'),
]
