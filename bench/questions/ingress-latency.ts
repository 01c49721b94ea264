import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline } from '@customer-stream/testing'
import { startBareProducer } from '../loads/bare-loop.ts'
import { createTopics } from '../loads/create-topics.ts'
import { openHttpSender, requestOf } from '../loads/http-sender.ts'
import { clockMs, openLoop } from '../loads/open-loop.ts'
import { alternate, latencyOf } from '../report/measure.ts'
import { type Line, type Question, ratioLine } from './question.ts'

const TARGETS = { 'p50 ms': 2.5, 'p99 ms': 5 } as const
const RATES = [500, 2000] as const
const DISTINCT_EVENTS = 5000
const PARTITIONS = 12
/** The first events need more CPU, because V8 and the JVM still compile their code. */
const WARM_UP_EVENTS = 30_000
const WARM_UP_RATE = 1000
const sendAt = (rate: number) => `one kafkajs send at a time, ${rate} a second`
const postAt = (rate: number) => `POST, ${rate} events/s`
const barePostAt = (rate: number) => `POST to a bare handler, ${rate} events/s`

/**
 * Sends by kafkajs, one record at a time. A send starts at its intended time, or later, when the
 * previous send has ended. The latency excludes this wait. Sends are paced like the POSTs, so that
 * the CPU sleeps equally long.
 */
const openSends = async ({ kafka, topics }: Pipeline) => {
  const producer = kafkajsOf(kafka).producer({ allowAutoTopicCreation: false })
  await producer.connect()
  const { body, customerUuid } = makeCustomersEvent()
  const messages = [{ key: customerUuid, value: body }]
  return {
    atRate: async (perSecond: number, seconds: number) => {
      const times: number[] = []
      const send = async () => {
        const startedAt = clockMs()
        await producer.send({ topic: topics.customers, acks: -1, messages })
        times.push(clockMs() - startedAt)
      }
      let before = Promise.resolve()
      const lateMs = await openLoop({ perSecond, seconds }, () => {
        before = before.then(send)
        return before
      })
      return { ...latencyOf(times), 'started late, p99 ms': lateMs }
    },
    close: () => producer.disconnect(),
  }
}

const openPosts = (pipeline: Pipeline, url: string) => {
  const sender = openHttpSender(url)
  const requests = Array.from({ length: DISTINCT_EVENTS }, () => requestOf(pipeline, makeCustomersEvent().body))
  return {
    atRate: async (perSecond: number, seconds: number) => {
      const times: number[] = []
      const lateMs = await openLoop({ perSecond, seconds }, async (i, dueAt) => {
        await sender.send(requests[i % DISTINCT_EVENTS]!)
        times.push(clockMs() - dueAt)
      })
      return { ...latencyOf(times), 'started late, p99 ms': lateMs }
    },
    close: () => sender.close(),
  }
}

export const ingressLatency: Question = {
  name: 'ingress-latency',
  title: 'How long a sender waits for its 202',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const ingress = await pipeline.start('ingress')
    await ingress.untilReady()
    const bareTopic = `${pipeline.topics.customers}.bare`
    await createTopics(bench, pipeline, [bareTopic], PARTITIONS)
    const bare = await startBareProducer(bench, pipeline, bareTopic)
    const sends = await openSends(pipeline)
    const posts = openPosts(pipeline, ingress.url)
    const barePosts = openPosts(pipeline, bare.line)
    const seconds = Math.max(2, Math.round(5 * bench.scale))
    try {
      const variants = Object.fromEntries(
        RATES.flatMap((rate) => [
          [sendAt(rate), () => sends.atRate(rate, seconds)],
          [postAt(rate), () => posts.atRate(rate, seconds)],
          [barePostAt(rate), () => barePosts.atRate(rate, seconds)],
        ]),
      )
      for (const variant of [sends, posts, barePosts]) {
        await variant.atRate(WARM_UP_RATE, Math.ceil((WARM_UP_EVENTS / WARM_UP_RATE) * bench.scale))
      }
      const readings = await alternate(5, variants)
      const lines = RATES.flatMap((rate) =>
        (['p50 ms', 'p99 ms'] as const).map(
          (name): Line =>
            ratioLine({
              what: `ingress latency, open loop at ${rate} events/s, ${name.slice(0, 3)}`,
              figure: readings[postAt(rate)]![name],
              base: readings[sendAt(rate)]![name],
              baseName: 'one kafkajs send of one record at that rate',
              atMost: TARGETS[name],
              unit: 'ms',
            }),
        ),
      )
      return {
        lines,
        readings,
        notes: [
          'In an open loop a request starts at its planned time, even if earlier requests have no answer yet. ' +
            'The latency counts from the planned time, so a stall adds to the latency of all requests that are ' +
            'planned during the stall. The last column is the delay of the load generator itself, which is part of ' +
            'the latency.',
          'For comparison, kafkajs sends records of the same size, one at a time. This time counts from the ' +
            'actual start. At 500 sends a second, a send takes twice as long as at 2 000 sends a second, because ' +
            'caches grow cold and threads fall asleep. So each rate is compared with sends at the same rate.',
          'The bare handler is the simplest program with the same answer: fastify, HMAC, two parses, and one kafkajs ' +
            'send for each body. The same load generator sends it the same requests. So its figures show how much of ' +
            'the latency comes from the machine and the load, and not from the ingress.',
        ],
      }
    } finally {
      posts.close()
      barePosts.close()
      await sends.close()
      await bare.end()
      await pipeline.close()
    }
  },
}
