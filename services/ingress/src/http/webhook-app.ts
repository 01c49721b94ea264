import type { IngressSettings } from '@customer-stream/configuration'
import { createThrottledLog, type Logger } from '@customer-stream/runtime'
import type { TopicNames } from '@customer-stream/schemas'
import type { FastifyInstance } from 'fastify'
import type { IngressMetrics } from '../metrics.ts'
import { type AppDependencies, createApp } from './app.ts'
import { authenticateWith } from './current-secrets.ts'
import { createRefusalLog, createSuspicionLog, traceFields } from './refusal-log.ts'

export interface WebhookAppDependencies extends Pick<AppDependencies, 'publish' | 'tracer' | 'stopping'> {
  readonly settings: IngressSettings
  readonly topics: TopicNames
  readonly metrics: IngressMetrics
  readonly logger: Logger
}

const warnings: Partial<Record<IngressSettings['MYKAARMA_AUTH'], string>> = {
  off: 'MYKAARMA_AUTH=off: every request is accepted without a check; never do this on the internet',
  on: 'MYKAARMA_AUTH=on is the former name of signature+token and still works; please write the new name',
}

/** Creates the app of the public port from the settings. Logs a warning about risky settings. */
export const createWebhookApp = (deps: WebhookAppDependencies): FastifyInstance => {
  const { settings, publish, topics, metrics, logger, tracer, stopping } = deps
  const warning = warnings[settings.MYKAARMA_AUTH]
  if (warning !== undefined) logger.warn({ event: 'setting' }, warning)
  const logFailure = createThrottledLog((fields) =>
    logger.error({ event: 'request-failed', ...fields }, 'a request failed'),
  )
  return createApp(
    {
      authenticate: authenticateWith(settings, metrics.authenticated),
      publish,
      topics,
      metrics,
      onInternalError: (err, traceId) => logFailure({ err, ...traceFields(traceId) }),
      onRefused: createRefusalLog(logger),
      onSuspicion: createSuspicionLog(logger),
      tracer,
      stopping,
    },
    {
      maxBodyBytes: settings.MAX_BODY_BYTES,
      maxReceivingBytes: settings.RECEIVE_MAX_BYTES,
      fallbackEncoding: settings.MYKAARMA_CHARSET,
      acceptDeadlineMs: settings.ACCEPT_DEADLINE_MS,
      maxConnections: settings.MAX_CONNECTIONS,
      keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT_MS,
      requestTimeoutMs: settings.REQUEST_TIMEOUT_MS,
      allowedAddresses: settings.MYKAARMA_ALLOWED_ADDRESSES,
      trustedProxies: settings.TRUSTED_PROXIES,
    },
  )
}
