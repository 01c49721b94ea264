import { join } from 'node:path'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import type { Bench } from '../questions/question.ts'
import { cpuSeconds } from '../report/measure.ts'
import { startBare } from './bare-process.ts'
import { load, writeRequests } from './wrk.ts'

export interface LoadedServer {
  readonly url: string
  readonly pid: number
}

/** A pipeline with an ingress, the bare handler for comparison, and signed requests for both. */
export interface IngressUnderLoad {
  readonly pipeline: Pipeline
  readonly ingress: LoadedServer
  readonly service: ServiceProcess
  readonly bare: LoadedServer
  /**
   * Sends requests to one server for some seconds. Measures the server's CPU, and counts the
   * answers.
   */
  read(server: LoadedServer, connections: number, seconds: number): Promise<Record<Reading, number>>
  close(): Promise<void>
}

export type Reading = 'CPU µs per event' | 'events per second' | 'p50 ms' | 'p99 ms'

const DISTINCT_EVENTS = 5000

export const openIngressUnderLoad = async (
  { brokers }: Bench,
  { env = {}, bodies }: { env?: Readonly<Record<string, string>>; bodies?: readonly string[] } = {},
): Promise<IngressUnderLoad> => {
  const pipeline = await openPipeline(brokers)
  const service = await pipeline.start('ingress', env)
  await service.untilReady()
  const requestsFile = join(pipeline.folder, 'requests')
  const events = bodies ?? Array.from({ length: DISTINCT_EVENTS }, () => makeCustomersEvent().body)
  await writeRequests(requestsFile, events, pipeline.secret)
  const bare = await startBare('bare-handler', pipeline, { SECRET: pipeline.secret })

  return {
    pipeline,
    ingress: service,
    service,
    bare: { url: bare.line, pid: bare.pid },
    read: async (server, connections, seconds) => {
      const before = cpuSeconds(server.pid)
      const result = await load({ url: `${server.url}/webhooks/mykaarma`, connections, seconds, requestsFile })
      if (result.refused + result.failed > 0)
        throw new Error(
          `${result.refused} requests were refused, ${result.failed} failed: the figures must be of accepted events`,
        )
      return {
        'CPU µs per event': ((cpuSeconds(server.pid) - before) / result.accepted) * 1e6,
        'events per second': result.perSecond,
        'p50 ms': result.p50Ms,
        'p99 ms': result.p99Ms,
      }
    },
    close: async () => {
      await bare.end()
      await pipeline.close()
    },
  }
}
