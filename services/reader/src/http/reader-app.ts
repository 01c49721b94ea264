import type { ReaderSettings } from '@customer-stream/configuration'
import { createThrottledLog, type Logger, version } from '@customer-stream/runtime'
import type { FastifyInstance } from 'fastify'
import { createAuthenticate } from './api-keys.ts'
import { type AppDependencies, createApp } from './app.ts'
import { createRevealLog } from './reveal-log.ts'

export interface ReaderAppDependencies
  extends Omit<AppDependencies, 'authenticate' | 'onReveal' | 'onStreamReveal' | 'onRecordReveal' | 'onFailure'> {
  readonly settings: ReaderSettings
  readonly logger: Logger
}

/** Creates the app of the public port from the settings. Logs a warning about risky settings. */
export const createReaderApp = ({ settings, logger, ...deps }: ReaderAppDependencies): FastifyInstance => {
  if (settings.READER_AUTH === 'off')
    logger.warn({ event: 'setting' }, 'READER_AUTH=off: anybody may read every customer; never do this on a network')
  const logFailure = createThrottledLog((fields) =>
    logger.error({ event: 'request-failed', ...fields }, 'a request failed'),
  )
  const logReveal = (key: string, customers: readonly string[]) =>
    logger.info({ event: 'revealed', key, customers }, 'an answer showed personal data of customers')
  const streamReveals = createRevealLog(logReveal)
  const app = createApp(
    {
      ...deps,
      authenticate: createAuthenticate(settings),
      onReveal: logReveal,
      onStreamReveal: streamReveals.add,
      onRecordReveal: (key, record) =>
        logger.info({ event: 'revealed', key, record }, 'an answer showed the bytes of a record of quarantine'),
      onFailure: (err, traceId) => logFailure({ err, ...(traceId !== undefined && { traceId }) }),
    },
    {
      version,
      maxRate: settings.READER_MAX_RATE,
      waitMs: settings.READ_WAIT_MS,
      maxWaiting: settings.READ_MAX_WAITING,
      maxConnections: settings.MAX_CONNECTIONS,
      keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT_MS,
      requestTimeoutMs: settings.REQUEST_TIMEOUT_MS,
    },
  )
  // All streams have ended before this hook runs.
  app.addHook('onClose', async () => streamReveals.flush())
  return app
}
