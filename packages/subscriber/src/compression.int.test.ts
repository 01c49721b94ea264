import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import kafkajs from 'kafkajs'
import { expect, inject, it, onTestFinished } from 'vitest'
import { createStateTopic } from './fixtures/state-topic.ts'
import { stateOf } from './fixtures/states.ts'
import { openCustomerTable } from './index.ts'

const { kafkaBrokers } = inject('brokers')

/** Opens a table on a topic whose records Kafka has compressed. */
const openCompressed = async (compression: string) => {
  const topic = await createStateTopic(kafkaBrokers, { config: { 'compression.type': compression } })
  await topic.write(stateOf('a', 1), stateOf('b', 1))
  const table = openCustomerTable({ kafka: topic.kafka, topic: topic.name })
  table.closed.catch(() => undefined)
  onTestFinished(() => table.close().catch(() => undefined))
  return table
}

it.each(['lz4', 'snappy', 'zstd'])(
  'a table without the codec of its topic ends with an error that names the codec: %s',
  async (compression) => {
    const table = await openCompressed(compression)
    const message = `has ended: ${compression} compression not implemented`
    await expect(table.untilCaughtUp()).rejects.toThrow(new RegExp(message, 'i'))
  },
)

it.each(['gzip', 'zstd'])(
  'a table reads %s, if kafkajs has the codec that the README describes',
  async (compression) => {
    const codecs = kafkajs.CompressionCodecs
    const before = codecs[kafkajs.CompressionTypes.ZSTD]
    onTestFinished(() => {
      codecs[kafkajs.CompressionTypes.ZSTD] = before
    })
    codecs[kafkajs.CompressionTypes.ZSTD] = () => ({ decompress: promisify(zstdDecompress) })
    const table = await openCompressed(compression)
    await table.untilCaughtUp()
    expect([...table].map(({ customerUuid }) => customerUuid)).toEqual(['a', 'b'])
  },
)
