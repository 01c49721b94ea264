/**
 * Delivers records to Kafka. While Kafka does not answer, writes them to the spool. Connects the
 * topic publishers and the spool with settings, metrics and log.
 */

import { type IngressSettings, SPOOL_WAITING_BYTES } from '@customer-stream/configuration'
import { createThrottledLog, type Logger, type Obstacles } from '@customer-stream/runtime'
import { createKafka, createVerifiedProducer } from '@customer-stream/runtime/kafka'
import type { TopicNames } from '@customer-stream/schemas'
import type { IngressMetrics } from '../metrics.ts'
import { createReopeningSpool, type ReopeningSpool } from '../spool/reopening-spool.ts'
import { damageMessages, lostRecords, type SpoolDamage, SpoolInUseError, volatileFileSystem } from '../spool/spool.ts'
import type { End } from './publisher.ts'
import { createSpooledPublish, type Publish } from './spooled-publish.ts'
import { createTopicPublishers, type TopicPublishers } from './topic-publishers.ts'

export interface DeliveryDependencies {
  readonly settings: IngressSettings
  readonly topics: TopicNames
  readonly metrics: IngressMetrics
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly logger: Logger
}

export interface Delivery {
  readonly publish: Publish<End | 'spooled'>
  readonly publishers: TopicPublishers
  /** Undefined if SPOOL_DIR is not set. */
  readonly spool: ReopeningSpool | undefined
  /**
   * Opens the spool. If its folder cannot be used, the process continues, because Kafka may still
   * store events.
   * @throws SpoolInUseError if another process uses the folder.
   */
  openSpool(): Promise<void>
  /**
   * Sends the spooled records. Records that Kafka does not accept stay in the spool. Opens the
   * spool again if its folder was lost. Never rejects.
   * @param partitionsKnown false until the partition counts are known. Until then the drain sends
   *   nothing. Without the counts, the drain could not skip the records of a failing partition, and
   *   that partition would delay all records.
   */
  drainSpool(partitionsKnown: boolean, signal: AbortSignal): Promise<void>
}

/**
 * Creates logs with a rate limit. Without the limit, an outage would repeat each line without end.
 */
const createDeliveryLog = (logger: Logger) => ({
  unacknowledged: createThrottledLog((fields) =>
    logger.warn({ event: 'record-unacknowledged', ...fields }, 'records without an acknowledgement are sent again'),
  ),
  refused: createThrottledLog((fields) =>
    logger.error({ event: 'record-refused', ...fields }, 'Kafka refuses a record'),
  ),
  unwritable: createThrottledLog((fields) =>
    logger.error(
      { event: 'spool-failed', ...fields },
      'the spool could not store an event; if Kafka did not store the event either, the answer was 503: free disk ' +
        'space or repair the disk',
    ),
  ),
  undrained: createThrottledLog((fields) =>
    logger.warn({ event: 'spool-undrained', ...fields }, 'Kafka did not accept all records of the spool; retrying'),
  ),
  unreadable: createThrottledLog((fields) =>
    logger.error(
      { event: 'spool-failed', ...fields },
      'a file of the spool cannot be read or deleted; retrying: repair the disk',
    ),
  ),
})
type DeliveryLog = ReturnType<typeof createDeliveryLog>

const openPublishers = ({ settings, topics, metrics, logger }: DeliveryDependencies, log: DeliveryLog) =>
  createTopicPublishers(
    topics,
    () =>
      createVerifiedProducer(
        createKafka(settings, {
          clientId: 'customer-stream-ingress',
          logger,
          requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
        }),
        {
          metadataMaxAgeMs: settings.KAFKA_METADATA_MAX_AGE_MS,
          produceTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
          onUnacknowledged: (records) => {
            metrics.unacknowledged.inc(records)
            log.unacknowledged({ records })
          },
        },
      ),
    {
      maxRecords: settings.QUEUE_MAX_RECORDS,
      maxBytes: settings.QUEUE_MAX_BYTES,
      deliveryDeadlineMs: 2 * settings.KAFKA_PRODUCE_TIMEOUT_MS + 500,
      // A send may first connect and log in (5 × KAFKA_CONNECTION_TIMEOUT_MS), and ask for the
      // partition leaders.
      stuckSendMs: 30_000 + 6 * (settings.KAFKA_CONNECTION_TIMEOUT_MS + settings.KAFKA_PRODUCE_TIMEOUT_MS),
      onFlush: (records, seconds, error) => {
        metrics.flushRecords.observe(records)
        metrics.flushSeconds.observe(seconds)
        if (error) metrics.flushErrors.inc()
      },
      onRefused: (topic, err, quarantined) => {
        metrics.refused.inc({ quarantined: quarantined ? 'yes' : 'no' })
        log.refused({ topic, err, quarantined })
      },
    },
  )

const warnOfVolatileFolder = async (directory: string, logger: Logger) => {
  const fileSystem = await volatileFileSystem(directory).catch(() => undefined)
  if (fileSystem !== undefined)
    logger.warn(
      { SPOOL_DIR: directory, fileSystem },
      'the spool is lost if the machine or the container is lost: put SPOOL_DIR on a disk that outlives both',
    )
}

export const createDelivery = (deps: DeliveryDependencies): Delivery => {
  const { settings, metrics, obstacles, logger } = deps
  const { SPOOL_DIR: directory } = settings
  const log = createDeliveryLog(logger)
  const publishers = openPublishers(deps, log)
  const withoutSpool: Delivery = {
    publish: publishers.publish,
    publishers,
    spool: undefined,
    openSpool: async () => undefined,
    drainSpool: async () => undefined,
  }
  if (directory === undefined) return withoutSpool

  const onDamage = (damage: SpoolDamage) => {
    metrics.spoolDamage.inc({ what: damage.what })
    metrics.spoolLost.inc(lostRecords(damage))
    const level = damage.what === 'torn-tail' ? 'warn' : 'error'
    logger[level]({ event: 'spool-damaged', ...damage }, damageMessages[damage.what])
  }
  const spool = createReopeningSpool({
    directory,
    maxBytes: settings.SPOOL_MAX_BYTES,
    maxWaitingBytes: SPOOL_WAITING_BYTES,
    onDamage,
  })
  const { publish, drain } = createSpooledPublish(publishers, spool, {
    spoolAfterMs: settings.SPOOL_AFTER_MS,
    onDiskError: (err) => {
      metrics.spoolErrors.inc()
      log.unwritable({ err })
    },
    onNotAccepted: (records, error) => {
      metrics.spoolDrainFailures.inc()
      log.undrained({ records, err: error ?? new Error('Kafka gave no answer in time') })
    },
  })
  const reportSpool = () => {
    const { problem } = spool
    const message =
      `The spool cannot be used: ${problem?.message}. Events that Kafka does not store get 503. Repair the folder; ` +
      'the service then opens the spool again.'
    obstacles.report('spool', problem && { blocked: true, reason: 'spool', message })
  }
  return {
    publish,
    publishers,
    spool,
    openSpool: async () => {
      await spool.open().catch((error: Error) => {
        reportSpool()
        if (error instanceof SpoolInUseError) throw error
      })
      await warnOfVolatileFolder(directory, logger)
    },
    drainSpool: async (partitionsKnown, signal) => {
      try {
        if (partitionsKnown) await drain(signal)
      } catch (err) {
        metrics.spoolDrainFailures.inc()
        log.unreadable({ err })
      }
      reportSpool()
    },
  }
}
