import { parseArgs } from 'node:util'
import { startBrokers } from '../brokers/index.ts'
import { startCluster } from '../brokers/local-cluster.ts'
import { interruption, tell } from './interruption.ts'

const usage = `  npm run stack -- [--brokers 1|3]   3 replicate, and are local processes whatever the environment says`

const readArguments = () => {
  try {
    const { brokers } = parseArgs({ options: { brokers: { type: 'string', default: '1' } } }).values
    if (brokers !== '1' && brokers !== '3') throw new Error(`--brokers must be 1 or 3, not ${brokers}`)
    return { brokers }
  } catch (error) {
    tell(`stack: ${(error as Error).message}\n${usage}`)
    process.exit(2)
  }
}
const start = readArguments().brokers === '3' ? startCluster : startBrokers

// Given brokers leave nothing else to keep this process up.
setInterval(() => {}, 2 ** 30)

try {
  const brokers = await start({ log: tell, signal: interruption.signal })
  process.stdout.write(`KAFKA_BROKERS=${brokers.kafkaBrokers.join(',')}\nREDIS_URL=${brokers.redisUrl}\n`)
  await interruption.arrived
  await brokers.stop()
  process.exit(0)
} catch (error) {
  if (interruption.signal.aborted) process.exit(0)
  tell(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
