import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import type { Outcome } from './publisher.ts'
import { createSpooledPublish } from './spooled-publish.ts'

const record: OutgoingRecord = { topic: 't', key: null, value: Buffer.from('v'), timestamp: 1 }
const soon = () => performance.now() + 1000

const setUp = ({ outcome = 'stored' as Outcome, append = async () => {}, held = 0 } = {}) => {
  const calls: string[] = []
  const errors: string[] = []
  const { publish, drain } = createSpooledPublish(
    async () => {
      calls.push('kafka')
      return outcome
    },
    {
      append: async () => {
        calls.push('disk')
        await append()
      },
      drain: async (send) => {
        await send([record], () => undefined)
        return 'empty'
      },
      size: { records: held, bytes: held, oldestAt: undefined },
    },
    {
      spoolAfterMs: 10,
      onDiskError: ({ message }) => errors.push(message),
      onDrainError: ({ message }) => errors.push(`drain: ${message}`),
    },
  )
  return { publish, drain, calls, errors }
}

it('does not touch the disk while Kafka stores', async () => {
  const { publish, calls } = setUp()
  expect([await publish(record, soon()), calls]).toEqual(['stored', ['kafka']])
})

it.each(['deadline', 'queue-full'] as const)('promises from the disk when Kafka says %s', async (outcome) => {
  const { publish, calls } = setUp({ outcome })
  expect([await publish(record, soon()), calls]).toEqual(['spooled', ['kafka', 'disk']])
})

it.each(['refused', 'closing'] as const)('does not spool what Kafka or we will never take: %s', async (outcome) => {
  const { publish, calls } = setUp({ outcome })
  expect([await publish(record, soon()), calls]).toEqual([outcome, ['kafka']])
})

it('goes to the disk at once while that holds earlier records', async () => {
  const { publish, calls } = setUp({ held: 3 })
  expect([await publish(record, soon()), calls]).toEqual(['spooled', ['disk']])
})

it('goes straight to Kafka again while the last batch of the spool is on its way, since under load there is always one more', async () => {
  const { publish, drain, calls } = setUp({ held: 500 })
  await drain(async () => [], AbortSignal.abort())
  expect([await publish(record, soon()), calls]).toEqual(['stored', ['kafka']])
})

it.each([
  ['a backlog is left', 501, async () => []],
  ['Kafka went away again', 500, async () => Promise.reject(new Error('away'))],
])('goes to the disk at once also in a drain when %s', async (_, held, send) => {
  const { publish, drain, calls } = setUp({ held })
  await drain(async () => [], AbortSignal.abort())
  await drain(send, AbortSignal.abort()).catch(() => undefined)
  expect([await publish(record, soon()), calls]).toEqual(['spooled', ['disk']])
})

it('promises nothing when the disk fails, and says so', async () => {
  const append = async () => {
    throw new Error('disk full')
  }
  const { publish, errors } = setUp({ outcome: 'deadline', append })
  expect([await publish(record, soon()), errors]).toEqual(['deadline', ['disk full']])
})

it('asks Kafka when a disk that holds earlier records is full', async () => {
  const append = async () => {
    throw new Error('full')
  }
  const { publish, calls } = setUp({ held: 1, append })
  expect([await publish(record, soon()), calls]).toEqual(['stored', ['disk', 'kafka']])
})

it('answers by the deadline though the disk hangs', async () => {
  const { publish } = setUp({ outcome: 'deadline', append: () => new Promise(() => {}) })
  expect(await publish(record, performance.now() + 30)).toBe('deadline')
})

it('says that a send of the drain failed, which the spool itself takes for the end of a turn', async () => {
  const { drain, errors } = setUp()
  await drain(async () => Promise.reject(new Error('away')), AbortSignal.abort()).catch(() => undefined)
  expect(errors).toEqual(['drain: away'])
})
