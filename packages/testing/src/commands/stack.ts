import { startBrokers } from '../brokers/index.ts'

const tell = (line: string): void => {
  process.stderr.write(`${line}\n`)
}

const [unknown] = process.argv.slice(2)
if (unknown !== undefined) {
  tell(`stack takes no arguments, got ${unknown}`)
  process.exit(2)
}

// Every further signal changes nothing: npm sends Ctrl-C a second time by itself, and the stop has a deadline of its own.
const interruption = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interruption.abort())
const interrupted = new Promise<void>((resolve) => interruption.signal.addEventListener('abort', () => resolve()))
// Given brokers leave nothing else to keep this process up.
setInterval(() => {}, 2 ** 30)

try {
  const brokers = await startBrokers({ log: tell, signal: interruption.signal })
  process.stdout.write(`KAFKA_BROKERS=${brokers.kafkaBrokers.join(',')}\nREDIS_URL=${brokers.redisUrl}\n`)
  await interrupted
  await brokers.stop()
  process.exit(0)
} catch (error) {
  if (interruption.signal.aborted) process.exit(0)
  tell(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
