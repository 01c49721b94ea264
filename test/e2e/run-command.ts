import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import {
  inspectCommand,
  openPipeline,
  type Pipeline,
  type PipelineBrokers,
  type ServiceProcess,
} from '@customer-stream/testing'

const command = fileURLToPath(new URL('../../packages/cli/start.js', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export type Run = (words: readonly string[], settings?: Readonly<Record<string, string>>) => Promise<Ended>

/** Returns a function that runs `customer-stream` to its end, with the settings of the pipeline. */
export const commandOf =
  (pipeline: Pick<Pipeline, 'topics' | 'keyPrefix'>, { kafkaBrokers, redisUrl }: PipelineBrokers): Run =>
  (words, settings = {}) =>
    new Promise((resolve) => {
      const env = {
        ...process.env,
        KAFKA_BROKERS: kafkaBrokers.join(','),
        REDIS_URL: redisUrl,
        KAFKA_TOPIC_PREFIX: pipeline.topics.customers.replace('customers.raw', ''),
        REDIS_KEY_PREFIX: pipeline.keyPrefix,
        ...settings,
      }
      const args = ['--conditions=customer-stream-source', command, ...words]
      const child = execFile(process.execPath, args, { env }, (_, stdout, stderr) => {
        inspectCommand(words, stdout + stderr, env)
        resolve({ code: child.exitCode, stdout, stderr })
      })
    })

/** Starts an ingress and a projector that notices each change of Redis soon. */
export const startBoth = async (
  brokers: PipelineBrokers,
): Promise<{ pipeline: Pipeline; ingress: ServiceProcess; projector: ServiceProcess; run: Run }> => {
  const pipeline = await openPipeline(brokers)
  const ingress = await pipeline.start('ingress')
  const projector = await pipeline.start('projector', { POSITION_CHECK_MS: '200' })
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  return { pipeline, ingress, projector, run: commandOf(pipeline, brokers) }
}
