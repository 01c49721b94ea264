/**
 * Creates the projector's clients of Kafka. Each topic has its own client. If a kafkajs client
 * cannot get the metadata of one topic, it fails for all its topics.
 */
import type { ProjectorSettings } from '@customer-stream/configuration'
import type { Logger } from '@customer-stream/runtime'
import { createAdmin, createKafka, createVerifiedProducer, createWriteCheck } from '@customer-stream/runtime/kafka'
import { createChangelogSource } from './changelog-source.ts'
import type { optionsOf } from './options.ts'
import { createOutputs } from './outputs.ts'

export interface KafkaClientsOptions {
  readonly settings: ProjectorSettings
  readonly options: ReturnType<typeof optionsOf>
  readonly logger: Logger
}

export const createKafkaClients = ({ settings, options, logger }: KafkaClientsOptions) => {
  const { stateTopic, erasuresTopic } = options.outputs
  const openKafka = () => createKafka(settings, { ...options.kafka, logger })
  const admin = createAdmin(openKafka())
  const sources = {
    stateSource: createChangelogSource(admin, createAdmin(openKafka()), stateTopic),
    erasuresSource: createChangelogSource(admin, createAdmin(openKafka()), erasuresTopic),
  }
  const { producer, stateProducer } = options
  const open = {
    quarantine: () => createVerifiedProducer(openKafka(), producer),
    state: () => createVerifiedProducer(openKafka(), { ...producer, ...stateProducer }),
  }
  const outputs = createOutputs(open, sources, options.outputs)
  // This client does not log, because kafkajs would log the expected failure of each write check as
  // an error.
  const silent = logger.child({}, { level: 'silent' })
  const writeCheck = createWriteCheck(createKafka(settings, { ...options.writeCheck, logger: silent }))
  return { openKafka, admin, sources, outputs, writeCheck }
}
