/** `npm run verify -- [--ledger FILE]`: holds promises against Kafka, and Kafka against Redis. Read-only; exit 1 if anything is missing or wrong. */
import { parseArgs } from 'node:util'
import { createLogger, integer, loadSettings } from '@customer-stream/runtime'
import { createKafka, kafkaSettings } from '@customer-stream/runtime/kafka'
import { createRedis, redisSettings } from '@customer-stream/runtime/redis'
import { PROJECTION_VERSION, topicNames } from '@customer-stream/schemas'
import { isSound, verdictLines } from '../verification/print-verdict.ts'
import { verify } from '../verification/verify.ts'

const usage = (fault: string): never => {
  process.stderr.write(
    `verify: ${fault}\n  npm run verify -- [--ledger FILE] [--catch-up-seconds N]   with KAFKA_BROKERS and REDIS_URL in the environment\n`,
  )
  process.exit(2)
}

const readArguments = () => {
  try {
    const { values } = parseArgs({ options: { ledger: { type: 'string' }, 'catch-up-seconds': { type: 'string', default: '60' } } })
    const catchUpSeconds = Number(values['catch-up-seconds'])
    if (!(catchUpSeconds >= 0)) return usage('--catch-up-seconds must be a number')
    const settings = loadSettings(
      {
        ...kafkaSettings,
        ...redisSettings,
        PROJECTION_VERSION: integer({
          default: PROJECTION_VERSION,
          minimum: 1,
          maximum: 1_000_000,
          description: 'The projection to look at.',
        }),
      },
      process.env,
    )
    return { ledgerPath: values.ledger, catchUpMs: catchUpSeconds * 1000, settings }
  } catch (error) {
    return usage((error as Error).message)
  }
}

const { ledgerPath, catchUpMs, settings } = readArguments()
const logger = createLogger('verify', 'error')
const kafka = createKafka(settings, { clientId: 'customer-stream-verify', logger, requestTimeoutMs: 10_000 })
const admin = kafka.admin()
const redis = createRedis(settings, logger)
let exitCode = 1
try {
  await Promise.all([admin.connect(), redis.connect()])
  const verdict = await verify({
    kafka,
    admin,
    redis,
    topics: topicNames(settings.KAFKA_TOPIC_PREFIX),
    keyPrefix: settings.REDIS_KEY_PREFIX,
    projection: settings.PROJECTION_VERSION,
    catchUpMs,
    ...(ledgerPath !== undefined && { ledgerPath }),
    onProgress: (step) => process.stderr.write(`verify: ${step}\n`),
  })
  process.stdout.write(`${verdictLines(verdict).join('\n')}\n`)
  exitCode = isSound(verdict) ? 0 : 1
} catch (error) {
  process.stderr.write(`verify: ${(error as Error).message}\n`)
} finally {
  redis.disconnect()
  await admin.disconnect()
}
process.exit(exitCode)
