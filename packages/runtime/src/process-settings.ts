import { LOG_LEVELS } from './log.ts'
import { choice, integer, text } from './settings.ts'

/** Settings of every process of ours. */
export const processSettings = {
  HOST: text({ default: '0.0.0.0', description: 'Address to listen on, for the public and the admin port.' }),
  ADMIN_PORT: integer({
    default: 9464,
    minimum: 0,
    maximum: 65535,
    description: 'Port of `/livez`, `/readyz` and `/metrics`; not for the public. 0 takes a free one.',
  }),
  LOG_LEVEL: choice(LOG_LEVELS, { default: 'info', description: 'Least severe level that is logged.' }),
  SHUTDOWN_DELAY_MS: integer({
    default: 0,
    minimum: 0,
    maximum: 60_000,
    description: 'On SIGTERM: time between turning not ready and refusing work, for the load balancer to notice.',
  }),
  SHUTDOWN_DEADLINE_MS: integer({
    default: 20_000,
    minimum: 1000,
    maximum: 300_000,
    description:
      'On SIGTERM: what has not ended after this time is cut off, with exit code 1. Keep it above `SHUTDOWN_DELAY_MS` and below the time after which your supervisor kills (Kubernetes: 30 s).',
  }),
}
