import {
  inspectCommand,
  openPipeline,
  type Pipeline,
  type PipelineBrokers,
  type ServiceProcess,
} from '@customer-stream/testing'
import { type Ended, runCommandLine } from '../fixtures/run-command-line.ts'

export type { Ended }

export type Run = (
  words: readonly string[],
  settings?: Readonly<Record<string, string>>,
  columns?: number,
) => Promise<Ended>

/** Returns the settings with which commands find the pipeline. */
export const settingsOf = (
  { topics, keyPrefix }: Pick<Pipeline, 'topics' | 'keyPrefix'>,
  { kafkaBrokers, redisUrl }: PipelineBrokers,
): Readonly<Record<string, string>> => ({
  KAFKA_BROKERS: kafkaBrokers.join(','),
  REDIS_URL: redisUrl,
  KAFKA_TOPIC_PREFIX: topics.customers.replace('customers.raw', ''),
  REDIS_KEY_PREFIX: keyPrefix,
})

/** Returns a function that runs `customer-stream` to its end, with the settings of the pipeline. */
export const commandOf =
  (pipeline: Pick<Pipeline, 'topics' | 'keyPrefix'>, brokers: PipelineBrokers): Run =>
  async (words, settings = {}, columns) => {
    const env = { ...process.env, ...settingsOf(pipeline, brokers), ...settings }
    const ended = await runCommandLine({ file: 'packages/cli/src/main.ts', words, env, columns })
    inspectCommand(words, ended.stdout + ended.stderr, env)
    return ended
  }

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
