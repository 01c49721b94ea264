import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf } from '@customer-stream/testing'
import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { alternate, figureOf } from '../report/measure.ts'
import type { Question } from './question.ts'

const TARGET = 2
const CONNECTIONS = 8

export const ingressLatency: Question = {
  name: 'ingress-latency',
  title: 'How long a sender waits for its 202',
  ask: async (bench) => {
    const under = await openIngressUnderLoad(bench)
    const producer = kafkajsOf(under.pipeline.kafka).producer({ allowAutoTopicCreation: false })
    const seconds = Math.max(2, Math.round(5 * bench.scale))
    const { body, customerUuid } = makeCustomersEvent()
    const sendOne = async () => {
      const times: number[] = []
      for (const until = performance.now() + seconds * 1000; performance.now() < until; ) {
        const startedAt = performance.now()
        await producer.send({
          topic: under.pipeline.topics.customers,
          acks: -1,
          messages: [{ key: customerUuid, value: body }],
        })
        times.push(performance.now() - startedAt)
      }
      const sorted = times.toSorted((a, b) => a - b)
      return { 'p50 ms': figureOf(times).median, 'p99 ms': sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN }
    }
    const postEight = async () => {
      const read = await under.read(under.ingress, CONNECTIONS, seconds)
      return { 'p50 ms': read['p50 ms'], 'p99 ms': read['p99 ms'] }
    }
    try {
      await producer.connect()
      await sendOne()
      await postEight()
      const read = await alternate(5, {
        'one kafkajs send of one record': sendOne,
        [`POST, ${CONNECTIONS} connections`]: postEight,
      })
      const [send, post] = Object.values(read).map((figures) => figures['p50 ms'].median)
      const ratio = (post ?? Number.NaN) / (send ?? Number.NaN)
      return {
        lines: [
          {
            what: `ingress latency, ${CONNECTIONS} connections, p50`,
            target: `≤ ${TARGET} × one kafkajs send of one record`,
            figure: `${ratio.toFixed(2)} × (${post?.toFixed(2)} ms against ${send?.toFixed(2)} ms)`,
            met: ratio <= TARGET,
          },
        ],
        readings: read,
        notes: ['One send at a time by kafkajs alone, against eight senders that always have a request under way.'],
      }
    } finally {
      await producer.disconnect()
      await under.close()
    }
  },
}
