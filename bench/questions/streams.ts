import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { openHttpSender, requestOf } from '../loads/http-sender.ts'
import { clockMs, openLoop } from '../loads/open-loop.ts'
import { openStreamClients } from '../loads/stream-clients.ts'
import { alternate, cpuSeconds, latencyOf, residentBytes } from '../report/measure.ts'
import type { Question } from './question.ts'

const CLIENTS = 1000
const PER_SECOND = 500
const DEALERS = 100
const TARGET_MS = 250
const MB = 1024 * 1024

export const streams: Question = {
  name: 'streams',
  title: 'How long until a stream of changes has an event',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const [ingress, projector, reader] = await Promise.all([
      pipeline.start('ingress'),
      pipeline.start('projector'),
      pipeline.start('reader'),
    ])
    await Promise.all([ingress, projector, reader].map((service) => service.untilReady()))
    const sender = openHttpSender(ingress.url)
    const clientCount = Math.max(100, Math.round(CLIENTS * bench.scale))
    const perSecond = Math.max(50, Math.round(PER_SECOND * bench.scale))
    const load = `${clientCount} streams of changes at ${perSecond} changes/s`
    const clientsOfDealer = clientCount / DEALERS
    const dueAt = new Map<string, number>()
    const times: number[] = []
    const clients = await openStreamClients(
      Array.from({ length: clientCount }, (_, i) => `${reader.url}/v1/changes?dealer=d${i % DEALERS}`),
      (customerUuid) => {
        const at = dueAt.get(customerUuid)
        if (at !== undefined) times.push(clockMs() - at)
      },
    )
    const idleBytes = residentBytes(reader.pid)
    let mostBytes = idleBytes

    const steadily = async () => {
      const seconds = Math.max(3, Math.round(15 * bench.scale))
      const events = Array.from({ length: seconds * perSecond }, (_, i) => {
        const { body, customerUuid } = makeCustomersEvent({ dealeruuid: `d${i % DEALERS}` })
        return { customerUuid, request: requestOf(pipeline, body) }
      })
      const cpuBefore = cpuSeconds(reader.pid)
      const lateMs = await openLoop({ perSecond, seconds }, (i, at) => {
        const { customerUuid, request } = events[i]!
        dueAt.set(customerUuid, at)
        return sender.send(request)
      })
      const expected = events.length * clientsOfDealer
      await waitUntil(
        'every client has its events',
        () => times.length,
        (count) => count >= expected,
      )
      mostBytes = Math.max(mostBytes, residentBytes(reader.pid))
      dueAt.clear()
      return {
        ...latencyOf(times.splice(0)),
        'started late, p99 ms': lateMs,
        'CPU µs per delivered event': ((cpuSeconds(reader.pid) - cpuBefore) * 1e6) / expected,
        MB: residentBytes(reader.pid) / MB,
      }
    }
    try {
      await steadily()
      const readings = await alternate(3, { [load]: steadily })
      const p99 = readings[load]!['p99 ms'].median
      return {
        lines: [
          {
            what: `${load}, POST to event, p99`,
            target: `≤ ${TARGET_MS} ms`,
            figure: `${p99.toFixed(1)} ms`,
            met: p99 <= TARGET_MS,
          },
          {
            what: `${clientCount} streams of changes, memory of the reader under load`,
            target: '≤ 2 × the memory without load',
            figure: `${(mostBytes / idleBytes).toFixed(2)} ×`,
            met: mostBytes <= 2 * idleBytes,
          },
        ],
        readings,
        notes: [
          `Each client has a stream of one of ${DEALERS} dealers, so ${clientsOfDealer} clients get each event. The ` +
            'times of all clients count from the intended start of the POST until the client has parsed the event.',
        ],
      }
    } finally {
      clients.close()
      sender.close()
      await pipeline.close()
    }
  },
}
