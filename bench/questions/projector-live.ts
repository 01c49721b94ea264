import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { openBareLoop, PARTITIONS, startBareProducer } from '../loads/bare-loop.ts'
import { openHttpSender, requestOf } from '../loads/http-sender.ts'
import { openLoop } from '../loads/open-loop.ts'
import { alternate, cpuSeconds } from '../report/measure.ts'
import type { Question } from './question.ts'

const TARGET_US = 250
/** Events per second. The rate is so low that most chunks have one event. */
const PER_SECOND = 250
const MAX_EVENTS_PER_CHUNK = 1.1
const DISTINCT_EVENTS = 5000

export const projectorLive: Question = {
  name: 'projector-live',
  title: 'What an event costs the projector if it arrives alone',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const projector = await pipeline.start('projector', { KAFKA_PARTITIONS: String(PARTITIONS) })
    await projector.untilReady()
    const producer = await startBareProducer(bench, pipeline, pipeline.topics.customers)
    const bareLoop = await openBareLoop(bench, pipeline)
    const senders = { projector: openHttpSender(producer.line), bare: openHttpSender(bareLoop.url) }
    const requests = Array.from({ length: DISTINCT_EVENTS }, () => requestOf(pipeline, makeCustomersEvent().body))
    const seconds = Math.max(4, Math.round(10 * bench.scale))
    const read = (reader: keyof typeof senders, pid: number) => async () => {
      const chunksBefore = await projector.metric('projector_chunk_seconds_count')
      const before = cpuSeconds(pid)
      await openLoop({ perSecond: PER_SECOND, seconds }, (i) => senders[reader].send(requests[i % DISTINCT_EVENTS]!))
      const events = PER_SECOND * seconds
      const cpu = cpuSeconds(pid) - before
      const chunks = (await projector.metric('projector_chunk_seconds_count')) - chunksBefore
      return {
        'CPU µs per event': (cpu / events) * 1e6,
        'events per chunk': reader === 'projector' ? events / chunks : 1,
      }
    }
    const variants = {
      projector: read('projector', projector.pid),
      'bare consumer': read('bare', bareLoop.consumerPid),
    }
    try {
      for (const warmUp of Object.values(variants)) await warmUp()
      const readings = await alternate(5, variants)
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
          `${PER_SECOND} events a second over ${PARTITIONS} partitions, from an open loop. The bare consumer is ` +
            'kafkajs with two parses and one HSET for each record. An event that arrives alone needs its own ' +
            'fetch, its own call of Redis and its own wake-ups. In a backlog, hundreds of events share this work.',
        ],
      }
    } finally {
      for (const sender of Object.values(senders)) sender.close()
      await Promise.all([producer.end(), bareLoop.close()])
      await pipeline.close()
    }
  },
}
