import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { freshNames, openPipeline, startSupervised } from '@customer-stream/testing'
import { load, writeRequests } from '../loads/wrk.ts'
import { alternate } from '../report/measure.ts'
import type { Bench, Question } from './question.ts'

/** Minimum gain that justifies the memory of a second process. */
const MIN_GAIN = 1.5
const CONNECTIONS = 128
const primary = fileURLToPath(new URL('../loads/cluster-primary.ts', import.meta.url))

const openWorkers = async ({ brokers }: Bench, count: number, folder: string, secret: string, token: string) => {
  const logFile = join(folder, `workers-${randomUUID()}.log`)
  const supervised = startSupervised({
    command: process.execPath,
    args: ['--conditions=customer-stream-source', primary],
    env: {
      WORKERS: String(count),
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: '0',
      ADMIN_PORT: '0',
      KAFKA_BROKERS: brokers.kafkaBrokers.join(','),
      KAFKA_CREATE_TOPICS: 'true',
      KAFKA_REPLICATION_FACTOR: '1',
      KAFKA_TOPIC_PREFIX: freshNames().topicPrefix,
      MYKAARMA_SIGNING_SECRETS: `desk=${secret}`,
      MYKAARMA_TOKENS: `desk=${token}`,
    },
    logFile,
  })
  const log = await waitUntil(
    `${count} workers are ready`,
    async () => readFile(logFile, 'utf8').catch(() => ''),
    (text) => text.split('"msg":"ready"').length > count,
    { timeoutMs: 60_000 },
  )
  const url = /"address":"(http[^"]+)"/.exec(log)?.[1]
  if (url === undefined) throw new Error(`no address in ${logFile}`)
  return { url, end: () => supervised.end() }
}

export const workers: Question = {
  name: 'workers',
  title: 'Whether a second ingress process on the machine pays',
  needsWrk: true,
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const requestsFile = join(pipeline.folder, 'requests')
    await writeRequests(
      requestsFile,
      Array.from({ length: 5000 }, () => makeCustomersEvent().body),
      pipeline.secret,
    )
    const seconds = Math.max(2, Math.round(5 * bench.scale))
    const read = async (count: number) => {
      const opened = await openWorkers(bench, count, pipeline.folder, pipeline.secret, pipeline.token)
      try {
        const options = { url: `${opened.url}/webhooks/mykaarma`, connections: CONNECTIONS, seconds, requestsFile }
        await load(options)
        const { perSecond, p50Ms, p99Ms } = await load(options)
        return { 'events per second': perSecond, 'p50 ms': p50Ms, 'p99 ms': p99Ms }
      } finally {
        await opened.end()
      }
    }
    try {
      const readings = await alternate(3, { '1 process': () => read(1), '2 processes': () => read(2) })
      const gain =
        readings['2 processes']['events per second'].median / readings['1 process']['events per second'].median
      return {
        lines: [
          {
            what: 'two ingress processes on one port (node:cluster) against one',
            target: `built only if ≥ ${MIN_GAIN} ×`,
            figure: `${gain.toFixed(2)} ×: ${gain >= MIN_GAIN ? 'worth building' : 'not built'}`,
            met: gain < MIN_GAIN,
          },
        ],
        readings,
        notes: [
          'The broker and the load generator share the two cores. This is an experiment: to scale, start more ' +
            'processes behind the load balancer.',
        ],
      }
    } finally {
      await pipeline.close()
    }
  },
}
