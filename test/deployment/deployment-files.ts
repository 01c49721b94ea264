import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  ingressRules,
  ingressSettings,
  projectorRules,
  projectorSettings,
  readerRules,
  readerSettings,
} from '@customer-stream/configuration'
import { loadSettings } from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'
import { redisRules, redisSettings } from '@customer-stream/runtime/redis'
import { parse } from 'yaml'

export const root = fileURLToPath(new URL('../..', import.meta.url))
export const read = (file: string) => readFileSync(join(root, file), 'utf8')

const EXAMPLES: Readonly<Record<string, string>> = {
  REDIS_URL: 'rediss://user:password@mymaster',
  READER_API_KEYS: JSON.stringify([{ name: 'a', sha256: '0'.repeat(64), scopes: ['read'], dealers: ['*'] }]),
}

/** Replaces each file of a secret by an example of its content. Leaves out certificates. */
export const withExamples = (env: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => {
      const [, secret] = /^(\w+)_FILE$/.exec(name) ?? []
      if (secret === undefined) return [[name, String(value)]]
      return /_(?:SSL|TLS)_/.test(secret) ? [] : [[secret, EXAMPLES[secret] ?? 'main=example']]
    }),
  )

type Env = Readonly<Record<string, string>>
/** Loads settings as the program does. Throws if a setting is wrong or missing. */
export const accept = {
  ingress: (env: Env) => loadSettings(ingressSettings, env, ingressRules),
  projector: (env: Env) => loadSettings(projectorSettings, env, projectorRules),
  reader: (env: Env) => loadSettings(readerSettings, env, readerRules),
  cli: (env: Env) => loadSettings({ ...kafkaSettings, ...redisSettings }, env, [...kafkaRules, ...redisRules]),
  topics: (env: Env) => loadSettings(kafkaSettings, env, kafkaRules),
}

/**
 * Returns the variables that are not settings. NAME_FILE, the file of a secret, also counts as a
 * setting.
 */
export const unknownIn = (settings: object, env: Readonly<Record<string, unknown>>): string[] =>
  Object.keys(env).filter((name) => !(name in settings) && !(name.replace(/_FILE$/, '') in settings))

/** Returns a reason to skip a test if a program of the machine is missing. */
export const missing = (program: string, ...words: readonly string[]): string | undefined => {
  if (spawnSync(program, words).status === 0) return undefined
  // The reason includes the arguments, because docker may be installed without its plugin compose.
  const reason = `this machine cannot run: ${[program, ...words].join(' ')}`
  // Vitest prints the reason of a skipped test only if the file has a failed test.
  process.stderr.write(`tests are skipped: ${reason}\n`)
  return reason
}

/** Runs a program. Returns its output, or "accepted" if it prints nothing and ends with 0. */
export const outcomeOf = (program: string, ...words: readonly string[]): string => {
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: root, encoding: 'utf8' })
  return status === 0 && stderr === '' ? stdout || 'accepted' : `${stdout}${stderr}`
}

interface Service {
  readonly image: string
  readonly environment?: Readonly<Record<string, unknown>>
  readonly ports?: readonly string[]
  readonly secrets?: readonly string[]
  readonly read_only?: boolean
  readonly cap_drop?: readonly string[]
  readonly mem_limit?: string
  readonly command?: readonly string[]
  readonly networks?: readonly string[] | Readonly<Record<string, { readonly aliases: readonly string[] }>>
}
/** The production compose file. */
export const compose = parse(read('deploy/compose.production.yml'), { merge: true }) as {
  readonly name: string
  readonly services: Readonly<Record<string, Service>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
}
