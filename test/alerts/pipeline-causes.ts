/** Faults of Kafka, Redis, the network and the processes. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent, makeOtherEvent } from '@customer-stream/simulator'
import { askReader, kafkajsOf, type NetworkState } from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import { changedSettings, TOPIC } from '../faults/fault.ts'
import type { ManagedService } from '../faults/harness/managed-services.ts'
import { type Cause, noRepair } from './cause.ts'
import { postSuspicious } from './request-causes.ts'
import type { Site } from './site.ts'
import { openTlsProxy } from './tls-proxy.ts'

const GZIP = 1
/** Size of a batch that the projector does not decompress, because it is too large. */
const HUGE_BYTES = 257 * 1024 * 1024
/** Default of KAFKA_PARTITIONS. */
const PARTITIONS = 12
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

const setBrokerNetworks = ({ cluster }: Site, state: NetworkState) => {
  for (const { network } of cluster.brokers) network.set(state)
}

const setMaxMessageBytes = async ({ pipeline }: Site, topic: string, bytes: number) => {
  const settings = await changedSettings(pipeline, topic)
  const configEntries = settings.map(({ name, value }) =>
    name === 'max.message.bytes' ? { name, value: String(bytes) } : { name, value },
  )
  await pipeline.administrator.alterConfigs({
    validateOnly: false,
    resources: [{ type: TOPIC, name: topic, configEntries }],
  })
}

const setMaxMemory = async ({ pipeline, redis }: Site, bytes: string) => {
  const client = await pipeline.connectRedis(redis.server.url)
  await client.config('SET', 'maxmemory', bytes)
  client.disconnect()
}

const restart = async (service: ManagedService, env: Readonly<Record<string, string>> = {}) => {
  await service.end()
  await service.restart(env)
}

/** Restarts a service so often that its supervisor would report it. */
const restartOften = async ({ projectors }: Site) => {
  const [projector] = projectors
  for (let i = 0; i < 3; i++) {
    await projector!.kill()
    await projector!.restart()
    await sleep(1500)
  }
}

/** Deletes all records of the customers topic. */
const deleteRecords = async ({ pipeline: { administrator, topics } }: Site) => {
  const ends = await administrator.fetchTopicOffsets(topics.customers)
  await administrator.deleteTopicRecords({
    topic: topics.customers,
    partitions: ends.map(({ partition, high: offset }) => ({ partition, offset })),
  })
}

/** Writes a batch that Kafka accepts and the projector cannot decompress. */
const writeHugeDocument = async ({ pipeline }: Site) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  const messages = [{ key: 'huge', value: Buffer.alloc(HUGE_BYTES) }]
  await producer.send({ topic: pipeline.stateTopic, compression: GZIP, messages })
  await producer.disconnect()
}

const certificateFile = ({ files }: Site) => join(files, 'redis-ca.pem')
/** Sends requests to the reader until all alerts have fired. */
const askUntil = async ({ reader }: Site, fired: AbortSignal) => {
  while (!fired.aborted) {
    // Ask for a page, which is empty. The alert ReaderSlow counts only successful answers.
    await askReader(reader, '/v1/dealers/nobody/customers').catch(() => undefined)
    await sleep(100)
  }
}

const authority = createAuthority('authority of the alerts', new Date(Date.now() + 400 * DAY_MS))
const certificateUntil = (days: number) => authority.issue('other', [], new Date(Date.now() + days * DAY_MS)).cert

/** Connects the second projector to Redis over TLS. */
const useTls = async (site: Site) => {
  const { cert, key } = authority.issue('redis', ['127.0.0.1'], new Date(Date.now() + 400 * DAY_MS))
  const port = await openTlsProxy({ cert, key }, site.redis.network.port)
  const env = { REDIS_URL: `rediss://127.0.0.1:${port}`, REDIS_TLS_CA_FILE: certificateFile(site) }
  await restart(site.projectors[1]!, { ...env, SECRET_FILES_CHECK_MS: '500' })
}

export const certificateCause: Cause = {
  fault: 'a certificate expires tomorrow, and then the file of the certificate is emptied',
  alerts: ['CertificateExpires', 'CertificateExpiresSoon', 'SecretFilesUnusable'],
  inject: async (site) => {
    writeFileSync(certificateFile(site), authority.ca + certificateUntil(1))
    await useTls(site)
    await site.untilFired('CertificateExpires', 'CertificateExpiresSoon')
    writeFileSync(certificateFile(site), '')
  },
  repair: async (site) => writeFileSync(certificateFile(site), authority.ca),
}

export const slowCauses: readonly Cause[] = [
  {
    fault: 'the network to Redis is slow',
    alerts: ['LagGrowing', 'RedisStale', 'ReaderSlow'],
    inject: (site, fired) => {
      site.redis.network.set({ delayMs: 150 })
      return askUntil(site, fired)
    },
    repair: async ({ redis }) => redis.network.set('open'),
  },
  {
    fault: 'the network from the ingresses to Kafka is slow',
    alerts: ['PartitionsSlow'],
    inject: async (site) => setBrokerNetworks(site, { delayMs: 120 }),
    repair: async (site) => setBrokerNetworks(site, 'open'),
  },
]

export const outageCauses: readonly Cause[] = [
  {
    fault: 'the network from the ingresses to Kafka is cut',
    alerts: ['EventsUnavailable', 'KafkaUnavailable', 'PartitionsFailing', 'QueueFilling', 'ReaderWithoutKafka'],
    inject: async (site) => setBrokerNetworks(site, 'stalled'),
    repair: async (site) => setBrokerNetworks(site, 'open'),
  },
  {
    fault: 'Redis hangs',
    alerts: ['RedisUnavailable', 'LagUnknown', 'ReaderUnavailable'],
    inject: async (site, fired) => {
      await site.redis.server.pause()
      await askUntil(site, fired)
    },
    repair: ({ redis }) => redis.server.resume(),
  },
]

export const fullRedisCause: Cause = {
  fault: 'Redis has no memory left, and a projector restarts again and again',
  alerts: ['Standstill', 'ServiceNotReady', 'ProcessRestarts', 'StandstillRestarts'],
  inject: async (site) => {
    await setMaxMemory(site, '1')
    await site.untilFired('Standstill')
    await restartOften(site)
  },
  repair: (site) => setMaxMemory(site, '0'),
}

/** `max.message.bytes` of the topics, as the services create them. */
const USUAL_BYTES = 1_114_112

export const topicCause: Cause = {
  fault: 'topics accept only small records',
  alerts: ['PartitionsHeld', 'ServiceBlocked', 'RecordsRefusedByKafka'],
  inject: async (site) => {
    const { quarantine, customers } = site.pipeline.topics
    await setMaxMessageBytes(site, quarantine, 100)
    await postSuspicious(site)
    await site.untilFired('PartitionsHeld')
    await setMaxMessageBytes(site, customers, 500)
  },
  repair: async (site) => {
    const { quarantine, customers } = site.pipeline.topics
    for (const topic of [quarantine, customers]) await setMaxMessageBytes(site, topic, USUAL_BYTES)
  },
}

export const missingCause: Cause = {
  fault: 'no process runs while Kafka deletes records',
  alerts: ['IngressMissing', 'ProjectorMissing', 'ReaderMissing', 'ProcessDown', 'RecordsLost'],
  inject: async (site) => {
    await site.reader.end()
    await Promise.all(site.projectors.map((projector) => projector.end()))
    await site.untilPromised(50)
    await Promise.all(site.ingresses.map((ingress) => ingress.end()))
    await site.untilFired('IngressMissing', 'ProjectorMissing', 'ReaderMissing', 'ProcessDown')
    await deleteRecords(site)
    await Promise.all([...site.ingresses, ...site.projectors].map((service) => service.restart()))
    await site.startReader()
  },
  repair: noRepair,
}

export const lostRedisCause: Cause = {
  fault: 'Redis loses its data, and one document of the state topic cannot be read',
  alerts: ['ProjectorRewound', 'StatesUnreadable'],
  inject: async (site) => {
    const { server } = site.redis
    await writeHugeDocument(site)
    await server.kill()
    await server.loseData()
    await server.restart()
  },
  repair: noRepair,
}

export const frozenProjectorCause: Cause = {
  fault: 'a projector freezes and loses its partitions',
  alerts: ['StateRepairs'],
  inject: async (site, fired) => {
    const { projectors, cluster } = site
    const [first, second] = projectors
    await restart(first!, {
      KAFKA_BROKERS: cluster.proxiedBrokers.join(','),
      // The freeze is shorter than this timeout. Otherwise calls to Redis would time out, and the
      // projector would publish nothing.
      REDIS_COMMAND_TIMEOUT_MS: '60000',
      // With the fence, Kafka refuses the documents of a lost partition.
      KAFKA_STATE_FENCE: 'false',
    })
    while (!fired.aborted) {
      // Kafka is slow, so that the freeze begins while the projector publishes documents. If the
      // projector froze at an earlier step of a chunk, it would find that another projector has
      // moved the position, and would publish nothing.
      setBrokerNetworks(site, { delayMs: 200 })
      await sleep(3000)
      first!.process.signal('SIGSTOP')
      setBrokerNetworks(site, 'open')
      await waitUntil(
        'the other projector has all partitions',
        () => second!.process.metric('projector_assigned_partitions'),
        (count) => count === PARTITIONS,
      )
      await sleep(1000)
      first!.process.signal('SIGCONT')
      await waitUntil(
        'the projector has partitions again',
        () => first!.process.metric('projector_assigned_partitions'),
        (count) => count > 0 && count < PARTITIONS,
      )
    }
  },
  repair: ({ projectors }) => restart(projectors[0]!),
}

/** Creates the topic of other events again, with one partition. */
const recreateOtherTopic = async ({ pipeline }: Site) => {
  const { administrator, topics } = pipeline
  const configEntries = await changedSettings(pipeline, topics.other)
  await administrator.deleteTopics({ topics: [topics.other] })
  const topic = { topic: topics.other, numPartitions: 1, replicationFactor: 3, configEntries }
  await waitUntil(
    'the topic is created again',
    () => administrator.createTopics({ topics: [topic], waitForLeaders: false }).catch(() => false),
    (isCreated) => isCreated,
  )
}

export const fewerPartitionsCause: Cause = {
  fault: 'a topic is created again with fewer partitions',
  alerts: ['UnacknowledgedRecords'],
  inject: async (site, fired) => {
    await recreateOtherTopic(site)
    const { process } = site.ingresses[0]!
    while (!fired.aborted) await site.pipeline.post(process, makeOtherEvent().body).then(() => sleep(50))
  },
  repair: async ({ pipeline: { administrator, topics } }) => {
    await administrator.createPartitions({ topicPartitions: [{ topic: topics.other, count: PARTITIONS }] })
  },
}

export const silentSenderCause: Cause = {
  fault: 'the sender sends nothing',
  alerts: ['NoEvents'],
  inject: (site) => site.stopLoad(),
  repair: ({ pipeline, ingresses }) => pipeline.post(ingresses[0]!.process, makeCustomersEvent().body),
}

const dealeruuid = 'dealer-that-becomes-silent'

/** Writes an event for each hour of some weeks, up to two days ago. */
const writeWeeks = async ({ pipeline }: Site) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  const messages = Array.from({ length: 22 * 24 }, (_, i) => {
    const timestamp = Date.now() - 24 * DAY_MS + i * HOUR_MS
    const { customerUuid: key, body: value } = makeCustomersEvent({ dealeruuid, timestamp })
    return { key, value, timestamp: String(timestamp) }
  })
  for (let from = 0; from < messages.length; from += 100)
    await producer.send({ topic: pipeline.topics.customers, messages: messages.slice(from, from + 100) })
  await producer.disconnect()
}

export const silentDealerCause: Cause = {
  fault: 'a dealer that usually sends events every hour has sent none for two days',
  alerts: ['DealersSilent'],
  inject: writeWeeks,
  repair: ({ pipeline, ingresses }) => pipeline.post(ingresses[0]!.process, makeCustomersEvent({ dealeruuid }).body),
}
