import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import type { End } from './publisher.ts'
import { createSpooledPublish } from './spooled-publish.ts'

const record: OutgoingRecord = { topic: 't', key: null, value: Buffer.from('v'), timestamp: 1 }
const soon = () => performance.now() + 1000

const setUp = ({
  end = 'stored' as End,
  append = async () => {},
  fails = false,
  left = [] as OutgoingRecord[],
} = {}) => {
  const calls: string[] = []
  const errors: string[] = []
  const { publish, drain } = createSpooledPublish(
    {
      publish: async () => {
        calls.push('kafka')
        return { end }
      },
      fails: () => fails,
      deliver: async () => ({ records: left, error: left.length > 0 ? new Error('no leader') : undefined }),
      partitionOf: () => 'p',
    },
    {
      append: async () => {
        calls.push('disk')
        await append()
      },
      drain: async ({ send }) => {
        await send([record], () => undefined)
        return 'empty'
      },
    },
    {
      spoolAfterMs: 10,
      onDiskError: ({ message }) => errors.push(message),
      onNotAccepted: (records, error) => errors.push(`${records} left: ${error?.message}`),
    },
  )
  return { publish, drain, calls, errors }
}

it('the spool is not used while Kafka stores records', async () => {
  const { publish, calls } = setUp()
  expect([(await publish(record, soon())).end, calls]).toEqual(['stored', ['kafka']])
})

it.each(['deadline', 'queue-full'] as const)(
  "a record is written to disk and acknowledged if the publisher's outcome is %s",
  async (end) => {
    const { publish, calls } = setUp({ end })
    expect([(await publish(record, soon())).end, calls]).toEqual(['spooled', ['kafka', 'disk']])
  },
)

it.each(['refused', 'closing'] as const)(
  'a record that Kafka refuses, or that arrives during a shutdown, is not spooled: %s',
  async (end) => {
    const { publish, calls } = setUp({ end })
    expect([(await publish(record, soon())).end, calls]).toEqual([end, ['kafka']])
  },
)

it('a record goes to the spool immediately if the last flush of its partition failed', async () => {
  const { publish, calls } = setUp({ fails: true })
  expect([(await publish(record, soon())).end, calls]).toEqual(['spooled', ['disk']])
})

it('a record is not acknowledged if the disk fails, and the error is reported', async () => {
  const append = async () => {
    throw new Error('disk full')
  }
  const { publish, errors } = setUp({ end: 'deadline', append })
  expect([(await publish(record, soon())).end, errors]).toEqual(['deadline', ['disk full']])
})

it('a record goes to Kafka if the spool is full', async () => {
  const append = async () => {
    throw new Error('full')
  }
  const { publish, calls } = setUp({ fails: true, append })
  expect([(await publish(record, soon())).end, calls]).toEqual(['stored', ['disk', 'kafka']])
})

it('a record is answered by the deadline even if the disk hangs', async () => {
  const { publish } = setUp({ end: 'deadline', append: () => new Promise(() => {}) })
  expect((await publish(record, performance.now() + 30)).end).toBe('deadline')
})

it('a drain reports how many records Kafka did not accept, and why', async () => {
  const { drain, errors } = setUp({ left: [record] })
  await drain(AbortSignal.abort())
  expect(errors).toEqual(['1 left: no leader'])
})
