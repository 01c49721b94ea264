import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, startSupervised } from '@customer-stream/testing'
import { beforeAll, expect, inject, it } from 'vitest'
import { createEmptyProject, type EmptyProject, sampleOf } from './empty-project.ts'

let project: EmptyProject
let folder: string
beforeAll(async () => {
  project = await createEmptyProject('schemas')
  folder = project.folder
  for (const word of ['subscriber', 'other']) project.write(`${word}.ts`, sampleOf('packages/schemas/README.md', word))
})

it('the samples of the schema package compile, and its types reject wrong uses', async () => {
  project.write(
    'typed.ts',
    "import { readVersion } from '@customer-stream/schemas'\nconst version: string = readVersion({})\n",
  )
  expect(await project.compile({ module: 'nodenext' }, 'subscriber.ts', 'other.ts', 'typed.ts')).toEqual([
    expect.stringMatching(
      /typed.ts\(2,7\): error TS2322: Type 'Result<Version, VersionFault>' is not assignable to type 'string'/,
    ),
  ])
})

it('the sample of the schema package keeps the newest state, and fails if kafkajs stops', async () => {
  const pipeline = await openPipeline(inject('brokers'))
  const producer = kafkajsOf(pipeline.kafka).producer()
  try {
    const ingress = await pipeline.start('ingress')
    await ingress.untilReady()
    await producer.connect()
    const topic = pipeline.topics.customers
    const post = async (customerUuid: string, timestamp: number, firstName: string) => {
      const { body } = makeCustomersEvent({ customerUuid, timestamp, customer: { firstName } })
      expect((await pipeline.post(ingress, body)).status).toBe(202)
    }
    const logFile = join(folder, 'out.log')
    const stateFile = join(folder, 'customers.db')
    const env = {
      KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
      KAFKA_TOPIC_PREFIX: topic.replace('customers.raw', ''),
      GROUP_ID: topic,
      STATE: stateFile,
      KAFKAJS_NO_PARTITIONER_WARNING: '1',
    }
    const start = () =>
      startSupervised({ command: process.execPath, args: [join(folder, 'subscriber.ts')], env, logFile })
    const untilSeen = (customerUuid: string) =>
      waitUntil(
        `the subscriber has seen ${customerUuid}`,
        () => readFileSync(logFile, 'utf8'),
        (output) => output.includes(`${customerUuid} `),
      )
    const firstNames = () => {
      const state = new DatabaseSync(stateFile, { readOnly: true, timeout: 5000 })
      try {
        return Object.fromEntries(
          state
            .prepare("SELECT uuid, customer ->> 'firstName' AS firstName FROM customer")
            .all()
            .map(({ uuid, firstName }) => [uuid, firstName]),
        )
      } finally {
        state.close()
      }
    }

    // The marker has the same key, so the subscriber reads it after these records.
    const late = Date.now() + 2 * 24 * 60 * 60 * 1000
    const foreign = [
      null,
      'no json',
      '{"type":"appointments","id":"a"}',
      makeCustomersEvent({ customerUuid: 'c', timestamp: late }).body,
    ]
    const send = (...values: (string | null)[]) =>
      producer.send({ topic, messages: values.map((value) => ({ key: 'c', value })) })
    const marker = (customerUuid: string) =>
      makeCustomersEvent({ customerUuid, customer: { firstName: 'marker' } }).body
    // According to the vendor's documentation a name is a text. SQLite refuses an object.
    await post('c', 1, { first: 'Renée' } as unknown as string)
    await post('c', 2, 'Renée')
    await post('c', 1, 'Old')
    await send(...foreign, marker('first'))
    const before = start()
    await untilSeen('first')
    expect(firstNames()).toEqual({ c: 'Renée', first: 'marker' })
    process.kill(await before.pid, 'SIGTERM')
    expect(await before.ended).toBe(0)

    // After the restart, the only new event is older than the stored event.
    await post('c', 1, 'Older')
    await send(marker('second'))
    const after = start()
    await untilSeen('second')
    expect(firstNames()).toEqual({ c: 'Renée', first: 'marker', second: 'marker' })

    // kafkajs cannot read zstd without a codec, and stops.
    const zstd = [{ name: 'compression.type', value: 'zstd' }]
    await pipeline.administrator.alterConfigs({
      validateOnly: false,
      resources: [{ type: 2, name: topic, configEntries: zstd }],
    })
    // The broker uses the new setting only after a moment, so the first records may be readable.
    await waitUntil(
      'the subscriber has ended',
      async () => {
        await send(marker('third'))
        return after.hasEnded()
      },
      (hasEnded) => hasEnded,
    )
    expect(await after.ended).toBe(1)
    expect(readFileSync(logFile, 'utf8')).toContain('ZSTD compression not implemented')
  } finally {
    await producer.disconnect()
    await pipeline.close()
  }
})
