import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { openBareLoop, PARTITIONS, startBareProducer } from '../loads/bare-loop.ts'
import { openHttpSender, requestOf } from '../loads/http-sender.ts'
import { openLoop, type Pace } from '../loads/open-loop.ts'
import { alternate, cpuSeconds } from '../report/measure.ts'
import type { Bench, Question } from './question.ts'

const TARGET_US = 250
/** Events per second. The rate is so low that most chunks have one event. */
const PER_SECOND = 250
/**
 * V8 compiles the code of an event in several steps, the last after thousands of calls. So the CPU
 * time of an event decreases during the first 15,000 events.
 */
const WARM_UP_EVENTS = 30_000
const WARM_UP_PER_SECOND = 1000
const MAX_EVENTS_PER_CHUNK = 1.1
const DISTINCT_EVENTS = 5000

/** A program that consumes the events of one topic. */
interface Consumer {
  readonly pid: number
  /** Address to which each request sends an event to the topic. */
  readonly url: string
  /** Number of chunks that the program has applied. Undefined for a program that has no chunks. */
  readonly chunks?: () => Promise<number>
  close(): Promise<unknown>
}

const openProjector = async (bench: Bench, env: Readonly<Record<string, string>>): Promise<Consumer> => {
  const pipeline = await openPipeline(bench.brokers)
  const projector = await pipeline.start('projector', { KAFKA_PARTITIONS: String(PARTITIONS), ...env })
  await projector.untilReady()
  const producer = await startBareProducer(bench, pipeline, pipeline.topics.customers)
  return {
    pid: projector.pid,
    url: producer.line,
    chunks: () => projector.metric('projector_chunk_seconds_count'),
    close: async () => {
      await producer.end()
      await pipeline.close()
    },
  }
}

export const projectorLive: Question = {
  name: 'projector-live',
  title: 'What an event costs the projector if it arrives alone',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const bareLoop = await openBareLoop(bench, pipeline)
    const consumers: Consumer[] = [
      await openProjector(bench, {}),
      await openProjector(bench, { KAFKA_STATE_TOPIC: 'false' }),
      { pid: bareLoop.consumerPid, url: bareLoop.url, close: bareLoop.close },
    ]
    const requests = Array.from({ length: DISTINCT_EVENTS }, () => requestOf(pipeline, makeCustomersEvent().body))
    const senders = consumers.map(({ url }) => openHttpSender(url))
    const seconds = Math.max(4, Math.round(10 * bench.scale))
    const send = (consumer: number, pace: Pace) =>
      openLoop(pace, (i) => senders[consumer]!.send(requests[i % DISTINCT_EVENTS]!))
    const read = (consumer: number) => async () => {
      const { pid, chunks } = consumers[consumer]!
      const chunksBefore = (await chunks?.()) ?? 0
      const before = cpuSeconds(pid)
      await send(consumer, { perSecond: PER_SECOND, seconds })
      const events = PER_SECOND * seconds
      const cpu = cpuSeconds(pid) - before
      return {
        'CPU µs per event': (cpu / events) * 1e6,
        'events per chunk': chunks ? events / ((await chunks()) - chunksBefore) : 1,
      }
    }
    try {
      const warmUp = Math.round(WARM_UP_EVENTS * bench.scale)
      for (const i of consumers.keys())
        await send(i, { perSecond: WARM_UP_PER_SECOND, seconds: warmUp / WARM_UP_PER_SECOND })
      const readings = await alternate(5, {
        projector: read(0),
        'projector without the state topic': read(1),
        'bare consumer': read(2),
      })
      const [ours, bare] = [
        readings.projector['CPU µs per event'].median,
        readings['bare consumer']['CPU µs per event'].median,
      ]
      const perChunk = readings.projector['events per chunk'].median
      return {
        lines: [
          {
            what: 'projector CPU per event, chunks of one event',
            target: `≤ ${TARGET_US} µs`,
            figure:
              `${ours.toFixed(0)} µs, ${(ours / bare).toFixed(2)} × a bare consumer ` +
              `(${perChunk.toFixed(2)} events a chunk)`,
            met: ours <= TARGET_US && perChunk <= MAX_EVENTS_PER_CHUNK,
          },
        ],
        readings,
        notes: [
          `An open loop sends ${PER_SECOND} events a second to ${PARTITIONS} partitions, after a warm-up of ` +
            `${warmUp} events at ${WARM_UP_PER_SECOND} a second. The bare consumer is kafkajs with two parses and ` +
            'one HSET for each record. An event that arrives alone needs its own fetch, its own calls of Redis and ' +
            'its own wake-ups. In a backlog, hundreds of events share this work.',
        ],
      }
    } finally {
      for (const sender of senders) sender.close()
      await Promise.all(consumers.map((consumer) => consumer.close()))
      await pipeline.close()
    }
  },
}
