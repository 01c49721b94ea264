import { interruption, printNotice } from '@customer-stream/cli/interruption'
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { startBrokers, startCluster } from '@customer-stream/testing'

const start = readCommandLine({
  name: 'stack',
  usage: `npm run stack -- [--brokers 1|3]

  Starts Kafka and Redis, prints their addresses as settings, and runs until Ctrl-C.
  --brokers 3   three brokers that replicate, always in local processes (default 1)`,
  options: { brokers: 'text' },
  read: ({ texts: { brokers = '1' } }) => {
    if (brokers !== '1' && brokers !== '3') throw new Error(`--brokers must be 1 or 3, not ${brokers}`)
    return brokers === '3' ? startCluster : startBrokers
  },
})

// Keep this process running. Without this timer the process would exit if the brokers' addresses
// were given.
setInterval(() => {}, 2 ** 30)

try {
  const brokers = await start({ log: printNotice, signal: interruption.signal })
  const replicas = Math.min(3, brokers.kafkaBrokers.length)
  process.stdout.write(
    `KAFKA_BROKERS=${brokers.kafkaBrokers.join(',')}\nREDIS_URL=${brokers.redisUrl}\n` +
      `KAFKA_REPLICATION_FACTOR=${replicas}\n`,
  )
  await interruption.arrived
  await brokers.stop()
  process.exit(0)
} catch (error) {
  if (interruption.signal.aborted) process.exit(0)
  printNotice(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
