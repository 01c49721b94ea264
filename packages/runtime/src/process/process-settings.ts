import type { TInteger } from '@sinclair/typebox'
import { LOG_LEVELS } from './log.ts'
import {
  choice,
  httpAddress,
  httpHeaders,
  integer,
  type Loaded,
  optionalSecret,
  optionalText,
  type Settings,
  text,
} from './setting-kinds.ts'
import { loadSettings, type Rule, SettingsError } from './settings.ts'

/** Maximum time that a shutdown waits for the collector of traces. */
export const TRACES_STOP_MS = 1000

/** Settings that all processes have. */
export const processSettings = {
  HOST: text({
    default: '0.0.0.0',
    description: 'Local address of the public port and the admin port. `::` is every IPv4 and IPv6 address.',
  }),
  ADMIN_PORT: integer({
    default: 9464,
    minimum: 0,
    maximum: 65535,
    description: 'Port of `/livez`, `/readyz` and `/metrics`, which must not be public. 0 selects a free port.',
  }),
  ADMIN_HOST: optionalText({ description: 'Local address of the admin port. Default: `HOST`.' }),
  ADMIN_TOKEN: optionalSecret({
    // A header of a request can have no other characters.
    pattern: '^[!-~]+$',
    shown: 'letters, digits and signs of ASCII, without blanks',
    description:
      'Token that the admin port demands, as `Authorization: Bearer TOKEN`. A request without the token gets only ' +
      'the status from `/livez` and `/readyz`, and 401 from `/metrics`. Default: the admin port demands no token.',
  }),
  LOG_LEVEL: choice(LOG_LEVELS, { default: 'info', description: 'Minimum level of the log lines.' }),
  READINESS_TIMEOUT_MS: integer({
    default: 2000,
    minimum: 100,
    maximum: 60_000,
    description:
      'Time in which Kafka and Redis must answer. Otherwise `/readyz` says that the service is not ready. Must be ' +
      'below the timeouts of the probe and of the scrape of `/metrics`.',
  }),
  RETRY_MAX_PAUSE_MS: integer({
    default: 3000,
    minimum: 100,
    maximum: 300_000,
    description:
      'Longest pause between two attempts while Kafka or Redis does not answer. The first pause is 100 ms, and ' +
      'each next pause is twice as long. A long pause reduces the load on a cluster that starts. After a short ' +
      'pause, the service notices the end of an outage sooner.',
  }),
  SECRET_FILES_CHECK_MS: integer({
    default: 5000,
    minimum: 100,
    maximum: 3_600_000,
    description:
      'Interval at which the service reads the files of secrets (`…_FILE`) again. Changed files are used without a ' +
      'restart.',
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpAddress({
    description:
      'Address of a collector of OpenTelemetry. The service sends its spans to `/v1/traces` of this address, as OTLP ' +
      'over HTTP in JSON. Without this setting there are no traces.',
  }),
  OTEL_EXPORTER_OTLP_HEADERS: httpHeaders({
    description: 'Headers of the requests to the collector, for example a token.',
  }),
  OTEL_SERVICE_NAME: optionalText({
    description: 'Name of the service in traces. Default: `customer-stream-ingress`, `…-projector` or `…-reader`.',
  }),
  SHUTDOWN_DELAY_MS: integer({
    default: 0,
    minimum: 0,
    maximum: 60_000,
    description:
      'Time from SIGTERM, when the service becomes "not ready", until the public port closes. In this time the load ' +
      'balancer can remove the service.',
  }),
  SHUTDOWN_DEADLINE_MS: integer({
    default: 20_000,
    minimum: 1000,
    maximum: 300_000,
    description:
      'Maximum time of the whole shutdown. After this time the process exits with code 1. Must be > ' +
      '`SHUTDOWN_DELAY_MS`. For the ingress, must be ≥ `SHUTDOWN_DELAY_MS` + `ACCEPT_DEADLINE_MS` + 1000 (with ' +
      'traces 2000 instead of 1000). Must be less than the time after which your supervisor kills the process ' +
      '(Kubernetes: 30 s).',
  }),
}

export const processRules: readonly Rule<typeof processSettings>[] = [
  (settings) =>
    settings.SHUTDOWN_DELAY_MS < settings.SHUTDOWN_DEADLINE_MS
      ? undefined
      : 'SHUTDOWN_DELAY_MS must be below SHUTDOWN_DEADLINE_MS: otherwise the shutdown would end before its first step',
]

/** Checks, in each service with a public port, that the admin port is another port. */
export const portsRule: Rule<typeof processSettings & { readonly PORT: TInteger }> = ({
  PORT,
  ADMIN_PORT,
  HOST,
  ADMIN_HOST = HOST,
}) =>
  PORT === ADMIN_PORT && PORT !== 0 && HOST === ADMIN_HOST
    ? `PORT and ADMIN_PORT are both ${PORT}: give one of them another number`
    : undefined

/**
 * Loads the settings. If a setting is wrong, prints all problems and exits with code 2.
 * @param others settings of other services that may be in the same environment. This function does
 *   not read them.
 */
export const settingsOrExit = <S extends Settings>(
  service: string,
  settings: S,
  env: NodeJS.ProcessEnv,
  rules: readonly Rule<NoInfer<S>>[],
  others: Settings = {},
): Loaded<S> => {
  try {
    return loadSettings(settings, env, rules, others)
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    process.stderr.write(`${service} cannot start. ${error.message}\n`)
    process.exit(2)
  }
}
