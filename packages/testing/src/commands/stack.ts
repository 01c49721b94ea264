import { startBrokers } from '../brokers/index.ts'
import { interruption, tell } from './interruption.ts'

const [unknown] = process.argv.slice(2)
if (unknown !== undefined) {
  tell(`stack takes no arguments, got ${unknown}`)
  process.exit(2)
}

// Given brokers leave nothing else to keep this process up.
setInterval(() => {}, 2 ** 30)

try {
  const brokers = await startBrokers({ log: tell, signal: interruption.signal })
  process.stdout.write(`KAFKA_BROKERS=${brokers.kafkaBrokers.join(',')}\nREDIS_URL=${brokers.redisUrl}\n`)
  await interruption.arrived
  await brokers.stop()
  process.exit(0)
} catch (error) {
  if (interruption.signal.aborted) process.exit(0)
  tell(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
