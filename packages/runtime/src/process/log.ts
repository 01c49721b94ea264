import { inspect } from 'node:util'
import { type DestinationStream, type Logger, type LoggerOptions, pino, stdSerializers } from 'pino'
import { version } from './version.ts'

export type { Logger }

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

const MAX_TEXT_CHARACTERS = 1000
const MAX_STACK_CHARACTERS = 4000

const cut = (text: string, characters: number): string =>
  text.length <= characters ? text : `${text.slice(0, characters)}… (${text.length} characters)`

/**
 * Logs only known fields of an error. ioredis attaches the command's arguments to an error, and
 * kafkajs attaches the payloads. Arguments and payloads have personal data, and pino's serializer
 * would log all of it, in lines of megabytes. Accepts any value, because code may throw a value
 * that is not an error.
 */
const errorFields = (error: unknown) => {
  if (!(error instanceof Error)) {
    const text = typeof error === 'string' ? error : inspect(error, { depth: -1 })
    return { type: typeof error, message: cut(text, MAX_TEXT_CHARACTERS) }
  }
  const { type, message, stack, code } = stdSerializers.err(error) as {
    type: string
    message: string
    stack: string
    code?: unknown
  }
  return {
    type,
    message: cut(message, MAX_TEXT_CHARACTERS),
    stack: cut(stack, MAX_STACK_CHARACTERS),
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
  }
}

const MAX_WAITING_BYTES = 1024 * 1024

const giveUp = () => {}

/**
 * Replaces pino's own destination. On a full disk pino's destination throws, then retries forever
 * and blocks the event loop. The process then neither answers nor stops. This destination drops
 * lines that cannot be written, because the process is more important than its log.
 *
 * Writes are synchronous. If the reader of a pipe stalls, lines are buffered up to a limit.
 * Buffered lines are lost when the process ends.
 */
const standardOutput = (): DestinationStream => {
  if (!process.stdout.listeners('error').includes(giveUp)) process.stdout.on('error', giveUp)
  return {
    write: (line) => {
      if (process.stdout.writableLength < MAX_WAITING_BYTES) process.stdout.write(line)
    },
  }
}

/**
 * Creates the logger of a process, which writes JSON lines. Do not log a line for each webhook
 * event, because a line costs as much CPU as the event.
 * @param destination default: standard output.
 */
export const createLogger = (
  service: string,
  level: (typeof LOG_LEVELS)[number],
  destination: DestinationStream = standardOutput(),
): Logger => {
  const options: LoggerOptions = {
    level,
    base: { service, version },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: errorFields },
    formatters: {
      level: (label) => ({ level: label }),
      // Shorten each text, because libraries may log texts of any length.
      log: (fields) =>
        Object.fromEntries(
          Object.entries(fields).map(([name, value]) => [
            name,
            typeof value === 'string' ? cut(value, MAX_TEXT_CHARACTERS) : value,
          ]),
        ),
    },
    hooks: {
      // Make each message a text. Libraries log errors and objects as messages, and log collectors
      // drop lines whose `msg` is not a text.
      logMethod(args, method) {
        const [first, ...rest] = args as unknown[]
        const isText = typeof first === 'string'
        const fields =
          first instanceof Error ? { err: first } : isText || first === null || typeof first !== 'object' ? {} : first
        const given = isText ? first : (rest[0] ?? (first instanceof Error ? first.message : undefined))
        const { msg: nested, ...others } = fields as { msg?: unknown }
        const message = given ?? nested ?? ''
        method.call(this, others, typeof message === 'string' ? message : inspect(message))
      },
    },
    // Redaction is only a second protection. No code may log a request, a secret or a customer.
    redact: {
      paths: [
        'headers',
        '*.headers',
        'body',
        '*.body',
        'value',
        '*.value',
        'password',
        '*.password',
        'secret',
        '*.secret',
        'token',
        '*.token',
      ],
      censor: '[redacted]',
    },
  }
  return pino(options, destination)
}

/**
 * Throttles a log line that could repeat without end, for example during an outage. The first line
 * is logged immediately. Further lines within the interval are counted. The first line after the
 * interval has this count as `heldBack`.
 */
export const createThrottledLog = <Fields extends object>(
  log: (fields: Fields & { readonly heldBack: number }) => void,
  intervalMs = 10_000,
): ((fields: Fields) => void) => {
  let lastLoggedAt = Number.NEGATIVE_INFINITY
  let heldBack = 0
  return (fields) => {
    const now = performance.now()
    if (now - lastLoggedAt < intervalMs) {
      heldBack += 1
      return
    }
    log({ ...fields, heldBack })
    lastLoggedAt = now
    heldBack = 0
  }
}
