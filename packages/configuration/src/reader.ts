import {
  choice,
  decodedSecret,
  httpAddresses,
  integer,
  type Loaded,
  optionalText,
  portsRule,
  processRules,
  processSettings,
  type Rule,
} from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'
import { redisRules, redisSettings } from '@customer-stream/runtime/redis-settings'
import { readApiKeys } from './api-keys.ts'
import { charsetRule, ingressSettings } from './ingress.ts'
import { projectorSettings } from './projector.ts'

export const readerSettings = {
  ...processSettings,
  ADMIN_PORT: { ...processSettings.ADMIN_PORT, default: 9466 },
  PORT: integer({
    default: 8090,
    minimum: 0,
    maximum: 65535,
    description: 'Public port, for `/v1` and `/openapi.json`. 0 selects a free port.',
  }),
  READER_AUTH: choice(['keys', 'off'], {
    default: 'keys',
    description:
      '`keys`: each request needs an API key. `off`: any request may read everything, unmasked. Use `off` only for ' +
      'development, never on a network.',
  }),
  READER_API_KEYS: decodedSecret(readApiKeys, {
    shown: 'JSON array',
    description:
      'API keys: `[{"name": "crm", "sha256": "<SHA-256 of the key, hex>", "scopes": ["read", "pii"], ' +
      '"dealers": ["*"]}]`. Required unless `READER_AUTH=off`.',
  }),
  READER_MAX_RATE: integer({
    default: 2000,
    minimum: 1,
    maximum: 1_000_000,
    description: 'Maximum requests per second of each API key, in each process. Further requests get 429.',
  }),
  READ_WAIT_MS: integer({
    default: 5000,
    minimum: 0,
    maximum: 30_000,
    description: 'Time that a request with `min-version` waits for that version. After this time it gets 504.',
  }),
  READ_MAX_WAITING: integer({
    default: 1000,
    minimum: 1,
    maximum: 100_000,
    description: 'Maximum requests that wait for a version at the same time. Further such requests get 429.',
  }),
  READER_MAX_STREAMS: integer({
    default: 2000,
    minimum: 1,
    maximum: 100_000,
    description: 'Maximum streams of changes in each process. Further streams get 503.',
  }),
  READER_MAX_KEY_STREAMS: integer({
    default: 1000,
    minimum: 1,
    maximum: 100_000,
    description: 'Maximum streams of changes of each API key, in each process. Further streams get 429.',
  }),
  INGRESS_ADMIN_URLS: httpAddresses({
    description:
      'Addresses of the admin ports of the ingresses, for example `http://ingress:9464`. If a host name has several ' +
      'addresses, the reader asks each of them. The reader sends its own `ADMIN_TOKEN`. Without this setting, the ' +
      'reader has no counts of the sender’s requests.',
  }),
  PROJECTION_VERSION: {
    ...projectorSettings.PROJECTION_VERSION,
    description: 'Number of the hash layout. Give reader and projector the same value.',
  },
  MAX_FUTURE_MS: {
    ...projectorSettings.MAX_FUTURE_MS,
    description:
      'A redrive refuses an event whose timestamp is later than its receipt by more than this time. Give reader ' +
      'and projector the same value.',
  },
  MYKAARMA_CHARSET: optionalText({
    description:
      'Charset that a redrive uses for bodies that declare no charset and are not UTF-8. Give reader and ingress the ' +
      'same value.',
  }),
  MAX_CONNECTIONS: { ...ingressSettings.MAX_CONNECTIONS, default: 3000 },
  REQUEST_TIMEOUT_MS: {
    ...ingressSettings.REQUEST_TIMEOUT_MS,
    description: 'If a request has not arrived completely after this time, the answer is 408.',
  },
  KEEP_ALIVE_TIMEOUT_MS: ingressSettings.KEEP_ALIVE_TIMEOUT_MS,
  OTEL_TRACES_SAMPLER: {
    ...ingressSettings.OTEL_TRACES_SAMPLER,
    description:
      'Decides which traces are exported. `traceidratio`: the ratio `OTEL_TRACES_SAMPLER_ARG` decides. ' +
      '`parentbased_traceidratio`: if a request with a valid key already has a trace, its client decides. For all ' +
      'other requests, the ratio decides.',
  },
  OTEL_TRACES_SAMPLER_ARG: ingressSettings.OTEL_TRACES_SAMPLER_ARG,
  ...kafkaSettings,
  ...redisSettings,
}

export type ReaderSettings = Loaded<typeof readerSettings>

/**
 * Maximum time that a shutdown waits for requests in flight. After this time, their connections are
 * cut.
 */
export const LAST_ANSWERS_MS = 2000

/** Time that a shutdown needs after the last answer. */
const AFTER_LAST_ANSWER_MS = 2000

export const readerRules: readonly Rule<typeof readerSettings>[] = [
  ...processRules,
  portsRule,
  ...redisRules,
  ...kafkaRules,
  ({ MYKAARMA_CHARSET }) => charsetRule(MYKAARMA_CHARSET),
  ({ READER_AUTH, READER_API_KEYS }) =>
    READER_AUTH === 'off' || READER_API_KEYS.length > 0
      ? undefined
      : 'READER_API_KEYS is missing: give at least one key (READER_API_KEYS_FILE), or READER_AUTH=off',
  ({ READER_MAX_STREAMS, MAX_CONNECTIONS }) =>
    READER_MAX_STREAMS < MAX_CONNECTIONS
      ? undefined
      : 'READER_MAX_STREAMS must be less than MAX_CONNECTIONS: otherwise streams could use all connections',
  ({ SHUTDOWN_DELAY_MS, SHUTDOWN_DEADLINE_MS }) => {
    const stopMs = SHUTDOWN_DELAY_MS + LAST_ANSWERS_MS + AFTER_LAST_ANSWER_MS
    return stopMs <= SHUTDOWN_DEADLINE_MS
      ? undefined
      : `SHUTDOWN_DEADLINE_MS must be at least SHUTDOWN_DELAY_MS + 4000 = ${stopMs}: otherwise requests would be ` +
          'cut off'
  },
]
