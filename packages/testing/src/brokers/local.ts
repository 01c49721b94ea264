import { startLocalKafka } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import type { Provider } from './provider.ts'
import { openRun } from './run.ts'

/** Real servers as processes of this machine. */
export const openLocal = async (log: (line: string) => void): Promise<Provider> => {
  const run = await openRun()
  return {
    kind: 'local',
    startKafka: () => startLocalKafka(run, log),
    startRedis: (options) => startLocalRedis(run, log, options),
    close: () => run.close(),
  }
}
