import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { type DestinationStream, type Logger, type LoggerOptions, pino, stdSerializers } from 'pino'

export type { Logger }

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

// The packages are released together: the version of one is the version of the service.
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

const MAX_TEXT_CHARACTERS = 1000
const MAX_STACK_CHARACTERS = 4000

const cut = (text: string, characters: number): string =>
  text.length <= characters ? text : `${text.slice(0, characters)}… (${text.length} characters)`

/**
 * Only what is known of an error. ioredis hangs the failed command with all its arguments on it, kafkajs its payloads: with pino's own way an outage of Redis
 * would write whole chunks of customers into the log, megabytes a line.
 */
const errorFields = (error: Error) => {
  const { type, message, stack, code } = stdSerializers.err(error) as { type: string; message: string; stack: string; code?: unknown }
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
 * Not pino's own, which on a full disk throws, and then, told of that, tries to write it for ever without leaving the loop: no answer, no end on SIGTERM. A process without a
 * log is worth more than none, so lines that cannot be written are given up. A file is written at once, and so is a pipe while its reader keeps up; for one that
 * stalls lines wait up to a bound, and those that wait when the process ends are lost.
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
 * The process's logger: JSON lines on standard output. Nothing is logged per event: that costs as much as handling it.
 * @param destination standard output when not given.
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
      level: (level) => ({ level }),
      // What a library reports may hold anything.
      log: (fields) =>
        Object.fromEntries(
          Object.entries(fields).map(([name, value]) => [name, typeof value === 'string' ? cut(value, MAX_TEXT_CHARACTERS) : value]),
        ),
    },
    hooks: {
      // Libraries log errors and objects in place of a message. A collector indexes `msg` as text, and drops lines in which it is none.
      logMethod(args, method) {
        const [first, ...rest] = args as unknown[]
        const isText = typeof first === 'string'
        const fields = first instanceof Error ? { err: first } : isText || first === null || typeof first !== 'object' ? {} : first
        const given = isText ? first : (rest[0] ?? (first instanceof Error ? first.message : undefined))
        const { msg: nested, ...others } = fields as { msg?: unknown }
        const message = given ?? nested ?? ''
        method.call(this, others, typeof message === 'string' ? message : inspect(message))
      },
    },
    // A second line of defence: no code path here logs a request, a secret or a customer.
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
 * For what an outage, or two processes that undo each other's work, would log without end: the first is logged at once, those that follow within the interval
 * are only counted, and the next one after it tells how many there were.
 */
export const createOccasionalLog = <Fields extends object>(
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
