import { DEFAULT_KEY_PREFIX, DEFAULT_TOPIC_PREFIX } from '@customer-stream/schemas'
import type { PipelineBrokers } from '@customer-stream/testing'

const productionNames = { topicPrefix: DEFAULT_TOPIC_PREFIX, keyPrefix: DEFAULT_KEY_PREFIX }

/**
 * Returns the settings with which a command finds topics and keys of these names. Empty for the
 * default names.
 */
const settingsOf = ({ topicPrefix, keyPrefix }: typeof productionNames): string =>
  topicPrefix === DEFAULT_TOPIC_PREFIX && keyPrefix === DEFAULT_KEY_PREFIX
    ? ''
    : ` KAFKA_TOPIC_PREFIX=${topicPrefix} REDIS_KEY_PREFIX=${keyPrefix}`

/**
 * Returns the setting KAFKA_REPLICATION_FACTOR if there are fewer than three brokers, because its
 * default is 3.
 */
const replicationOf = (brokers: readonly string[]): string =>
  brokers.length < 3 ? ` KAFKA_REPLICATION_FACTOR=${brokers.length}` : ''

const SMALL_RUN = '--events 100 --customers 10'

export interface Addresses {
  readonly ingress: { readonly url: string; readonly adminUrl: string }
  readonly projector: { readonly adminUrl: string }
  readonly reader: { readonly url: string; readonly adminUrl: string }
}

interface Keys {
  readonly secret: string
  readonly token: string
  /** API key of the reader. */
  readonly apiKey: string
}

const adminPorts = (services: Addresses): string =>
  Object.entries(services)
    .map(([service, { adminUrl }]) => `--${service} ${adminUrl}`)
    .join(' ')

/** Returns commands for another terminal. They need no program outside this repository. */
export const whereToLook = (
  { kafkaBrokers, redisUrl }: PipelineBrokers,
  { ingress, projector, reader }: Addresses,
  { secret, token, apiKey }: Keys,
  customerUuid = '<customerUuid>',
  names = productionNames,
): string => `In another terminal, in this folder:

  export KAFKA_BROKERS=${kafkaBrokers.join(',')} REDIS_URL=${redisUrl}${replicationOf(kafkaBrokers)}${settingsOf(names)}
  npm run status -- ${adminPorts({ ingress, projector, reader })}   whether all is well, and what is wrong
  npm run customer -- show ${customerUuid}   the hash of the customer in Redis
  npm run customer -- history ${customerUuid}   the outcome of each event of the customer
  npm run verify                    compares Redis with Kafka
  npm run simulate -- --url ${ingress.url}/webhooks/mykaarma --secret ${secret} --token ${token} ${SMALL_RUN}
  curl -H 'authorization: Bearer ${apiKey}' ${reader.url}/v1/customers/${customerUuid}   what an application gets

  Console: ${reader.url}/ with the API key ${apiKey}
  Metrics: ${ingress.adminUrl}/metrics`
