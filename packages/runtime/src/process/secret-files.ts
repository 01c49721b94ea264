import { readFileSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { certificateExpiries, createCertificateMetric } from './certificate-expiry.ts'
import type { Logger } from './log.ts'
import { Counter, Gauge, type Registry } from './metrics.ts'
import { periodically } from './periodically.ts'
import { type Loaded, loadSettings, type Rule, type Settings } from './settings.ts'

/** A file counts as written when it stays the same for this time. */
const SETTLED_AFTER_MS = 250

export interface SecretFilesOptions<S extends Settings> {
  readonly schemas: S
  readonly env: NodeJS.ProcessEnv
  readonly rules: readonly Rule<NoInfer<S>>[]
  readonly registry: Registry
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** For tests. */
  readonly settledAfterMs?: number
}

export const createSecretFileMetrics = (registry: Registry) => ({
  unusable: new Gauge({
    name: 'customer_stream_secret_files_unusable',
    help: '1 if changed files of secrets are wrong, so that the service uses the old values. Otherwise 0.',
    registers: [registry],
  }),
  changes: new Counter({
    name: 'customer_stream_secret_changes_total',
    help: 'How often changed files of secrets were put into use.',
    registers: [registry],
  }),
})

/** Content of each file, by the name of its setting. For an unreadable file, the error. */
type Contents = ReadonlyMap<string, string | Error>

const areSame = (one: Contents, other: Contents): boolean =>
  [...one].every(([name, content]) => String(other.get(name)) === String(content))

/**
 * Reads the files of secrets (NAME_FILE) again, and puts changed values into the settings. Clients
 * read the settings at each new connection, and the ingress at each request. If the new values are
 * wrong together, all old values stay.
 *
 * Polls, because a watch of a file ends when Kubernetes replaces the link `..data`, and because
 * network file systems send no events.
 * @param loaded the settings of the process. They are changed in place.
 */
export const createSecretFiles = <S extends Settings>(loaded: Loaded<S>, options: SecretFilesOptions<S>) => {
  const { schemas, env, rules, registry, logger, settledAfterMs = SETTLED_AFTER_MS } = options
  const names = Object.keys(schemas).filter((name) => schemas[name]?.secret && env[`${name}_FILE`])
  const { unusable, changes } = createSecretFileMetrics(registry)

  const contentOf = (name: string): string | Error => {
    try {
      const path = env[`${name}_FILE`] ?? ''
      // A read of a named pipe could block the process forever.
      if (!statSync(path).isFile()) return new Error('it is not a file')
      return readFileSync(path, 'utf8').trim()
    } catch (error) {
      return error as Error
    }
  }
  // The files are small, and the start reads them in this way too.
  const read = (): Contents => new Map(names.map((name) => [name, contentOf(name)]))

  /** The last contents that were put into use or refused. Empty until the first check. */
  let last: Contents = new Map()
  let isRefused = false

  /** @throws an error that names the problem, without the value. */
  const decode = (contents: Contents): Loaded<S> => {
    const given = Object.fromEntries(
      [...contents].flatMap(([name, content]) => {
        if (content instanceof Error) throw new Error(`${name}_FILE cannot be read: ${content.message}`)
        if (content === '') throw new Error(`${name}_FILE is empty`)
        return [
          [name, content],
          [`${name}_FILE`, undefined],
        ]
      }),
    )
    const next = loadSettings(schemas, { ...env, ...given }, rules)
    const moved = names.find((name) => {
      const fixedPart: ((value: unknown) => unknown) | undefined = schemas[name]?.fixedPart
      return fixedPart && fixedPart(next[name]) !== fixedPart(loaded[name])
    })
    if (moved !== undefined)
      throw new Error(`${moved}_FILE has another address. Restart the service to use the new address`)
    return next
  }

  const use = (contents: Contents): void => {
    try {
      const next = decode(contents)
      // Compares values, because the files may have changed since the settings were loaded.
      const changed = names.filter((name) => !isDeepStrictEqual(next[name], loaded[name]))
      unusable.set(0)
      if (changed.length > 0) {
        Object.assign(loaded, Object.fromEntries(changed.map((name) => [name, next[name]])))
        changes.inc()
        logger.info({ event: 'secrets-changed', settings: changed }, 'the service uses the changed files of secrets')
      } else if (isRefused)
        logger.info({ event: 'secrets-usable' }, 'the files of secrets are right again; the service kept these values')
      isRefused = false
    } catch (error) {
      isRefused = true
      unusable.set(1)
      logger.warn(
        { event: 'secrets-unusable', problem: (error as Error).message },
        'changed files of secrets are wrong; the service uses the old values. Correct the files',
      )
    }
  }

  return {
    /** Reads the files. Resolves when changed files are in use or refused. */
    check: async (): Promise<void> => {
      const seen = read()
      if (areSame(seen, last)) return
      await sleep(settledAfterMs)
      const contents = read()
      // The files are still being written, so leave them to the next check.
      if (!areSame(seen, contents)) return
      use(contents)
      last = contents
    },
  }
}

/**
 * Updates the secrets in the settings when their files change. Also shows as a metric when the
 * certificates in the settings expire.
 * @returns a function that ends the updates.
 */
export const watchSecretFiles = <S extends Settings>(
  loaded: Loaded<S> & { readonly SECRET_FILES_CHECK_MS: number },
  options: SecretFilesOptions<S>,
): (() => void) => {
  createCertificateMetric(options.registry, () => certificateExpiries(options.schemas, loaded))
  const { check } = createSecretFiles(loaded, options)
  return periodically(loaded.SECRET_FILES_CHECK_MS, check, (err) =>
    options.logger.warn({ err, event: 'secrets-unusable' }, 'the files of secrets could not be checked'),
  )
}
