import { type Logger, pino } from 'pino'

export type { Logger }

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

/** The process's logger: JSON lines on standard output. Nothing is logged per event: that costs as much as handling it. */
export const createLogger = (service: string, level: (typeof LOG_LEVELS)[number]): Logger =>
  pino({
    level,
    base: { service },
    timestamp: pino.stdTimeFunctions.isoTime,
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
  })
