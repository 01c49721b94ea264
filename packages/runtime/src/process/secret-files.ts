import { readFileSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { certificateExpiries } from './certificate-expiry.ts'
import type { Logger } from './log.ts'
import { Counter, Gauge, type Registry } from './metrics.ts'
import { periodically } from './periodically.ts'
import type { Loaded, Settings } from './setting-kinds.ts'
import { brokenRules, loadSettings, type Rule } from './settings.ts'

/** A file counts as complete when its content has not changed for this time. */
const SETTLED_AFTER_MS = 250

export interface SecretFilesOptions<S extends Settings> {
  readonly schemas: S
  readonly env: NodeJS.ProcessEnv
  readonly rules: readonly Rule<NoInfer<S>>[]
  readonly registry: Registry
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** Tests have a shorter time. Default: {@link SETTLED_AFTER_MS}. */
  readonly settledAfterMs?: number
}

export const createSecretFileMetrics = (registry: Registry) => ({
  unusable: new Gauge({
    name: 'customer_stream_secret_files_unusable',
    help: '1 if changed files of secrets are wrong, so that the service uses their old values. Otherwise 0.',
    registers: [registry],
  }),
  changes: new Counter({
    name: 'customer_stream_secret_changes_total',
    help: 'Number of times that the service began to use changed files of secrets.',
    registers: [registry],
  }),
})

/** @param expiries called for each scrape, because a changed file may have a new certificate. */
export const createCertificateMetric = (registry: Registry, expiries: () => ReadonlyMap<string, Date>) =>
  new Gauge({
    name: 'customer_stream_certificate_expiry_timestamp_seconds',
    help: 'Earliest expiry of the certificates in a setting, as Unix time, by setting. Absent without a certificate.',
    labelNames: ['setting'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [setting, end] of expiries()) this.set({ setting }, end.getTime() / 1000)
    },
  })

/**
 * Content of each file, by the name of its setting. The value of an unreadable file is the error.
 */
type Contents = ReadonlyMap<string, string | Error>

const areSame = (one: Contents, other: Contents): boolean =>
  [...one].every(([name, content]) => String(other.get(name)) === String(content))

/**
 * Reads the files of secrets (NAME_FILE) again, and puts changed values into the settings. Clients
 * read the settings at each new connection, and the ingress at each request. The value of a wrong
 * file stays as it was, and the other files are used.
 *
 * Polls the files instead of watching them. A watch ends when Kubernetes replaces the link
 * `..data`, and network file systems send no events.
 * @param loaded the settings of the process. New values replace the old values in this object.
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
  // The read is synchronous, because the files are small. The start of the process reads the files
  // in the same way.
  const read = (): Contents => new Map(names.map((name) => [name, contentOf(name)]))

  /** The last contents that were used or refused. Empty until the first check. */
  let last: Contents = new Map()
  let isRefused = false

  /** @throws an error that names the problem, and does not contain the value. */
  const decode = (name: string, content: string | Error | undefined): unknown => {
    if (content instanceof Error) throw new Error(`${name}_FILE cannot be read: ${content.message}`)
    if (!content) throw new Error(`${name}_FILE is empty`)
    const schema = schemas[name] as S[string]
    const value: unknown = loadSettings({ [name]: schema }, { [name]: content })[name]
    const fixedPart: ((value: unknown) => unknown) | undefined = schema.fixedPart
    if (fixedPart && fixedPart(value) !== fixedPart(loaded[name]))
      throw new Error(`${name}_FILE has another address. Restart the service to use the new address`)
    return value
  }

  /**
   * Decodes each file alone, so that a wrong file does not affect the others. Settings that a rule
   * reads together, such as a certificate and its key, are accepted or refused together.
   */
  const accept = (contents: Contents) => {
    const problems: string[] = []
    const values = new Map<PropertyKey, unknown>()
    for (const [name, content] of contents) {
      try {
        values.set(name, decode(name, content))
      } catch (error) {
        problems.push((error as Error).message)
      }
    }
    for (;;) {
      const broken = brokenRules(rules, { ...loaded, ...Object.fromEntries(values) })
      const refused = broken.flatMap((rule) => [...rule.names]).filter((name) => values.has(name))
      if (refused.length === 0) return { values, problems }
      problems.push(...broken.map(({ problem }) => problem))
      // Keep the old values of these settings. Check again, because a rule may refuse an old value
      // together with a new value of another setting.
      for (const name of refused) values.delete(name)
    }
  }

  const use = (contents: Contents): void => {
    const { values, problems } = accept(contents)
    // Compare the values with the settings. `last` is empty at the first check, although the files
    // may have changed since the settings were loaded.
    const changed = names.filter((name) => values.has(name) && !isDeepStrictEqual(values.get(name), loaded[name]))
    if (changed.length > 0) {
      Object.assign(loaded, Object.fromEntries(changed.map((name) => [name, values.get(name)])))
      changes.inc()
      logger.info({ event: 'secrets-changed', settings: changed }, 'the service uses the changed files of secrets')
    } else if (isRefused && problems.length === 0)
      logger.info(
        { event: 'secrets-usable' },
        'the files of secrets are valid again, and have the values that the service uses',
      )
    if (problems.length > 0)
      logger.warn(
        { event: 'secrets-unusable', problem: problems.join('; ') },
        'changed files of secrets are wrong; the service uses the old values of these files. Correct the files',
      )
    isRefused = problems.length > 0
    unusable.set(isRefused ? 1 : 0)
  }

  return {
    /** Reads the files. Resolves when the changed files are used or refused. */
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
 * Updates the secrets in the settings when their files change. Registers the metric that has the
 * expiry of the certificates.
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
