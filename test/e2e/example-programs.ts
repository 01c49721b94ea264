/**
 * The programs of `examples`, built in the user's cache folder, outside of the repository. Each
 * version of an example has its own folder.
 */
import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { packPackages, root } from './empty-project.ts'

type Command = readonly [program: string, ...args: string[]]

interface Recipe {
  /** Programs that must be on the PATH. */
  readonly needs: readonly string[]
  /** Packages of this repository that the example uses, by folder. */
  readonly packages?: readonly string[]
  /** Commands that download. If a download fails, the language is skipped. */
  readonly fetch: (tarballs: readonly string[]) => readonly Command[]
  /** Commands that build. If a command fails, the example is broken. */
  readonly build: (folder: string) => readonly Command[]
  /** Commands that run the programs, with paths relative to the folder. */
  readonly programs: Readonly<Record<ProgramName, Command>>
}

export type ProgramName = 'state' | 'raw' | 'conformance'
const java = (name: string): Command => ['java', '-cp', ['classes', 'lib/*'].join(delimiter), name]

export const LANGUAGES = ['typescript', 'python', 'java', 'go'] as const
export type Language = (typeof LANGUAGES)[number]

const node = (file: string): Command => [process.execPath, file]

const recipes: Readonly<Record<Language, Recipe>> = {
  typescript: {
    needs: ['npm'],
    packages: ['schemas', 'subscriber'],
    fetch: (tarballs) => [['npm', 'install', '--silent', '--no-audit', '--no-fund', ...tarballs]],
    build: () => [['node_modules/.bin/tsc', '-p', '.']],
    programs: { state: node('state-table.ts'), raw: node('raw-newest.ts'), conformance: node('conformance.ts') },
  },
  python: {
    needs: ['python3'],
    fetch: () => [
      ['python3', '-m', 'venv', 'venv'],
      ['venv/bin/pip', 'install', '--quiet', '-r', 'requirements.txt'],
    ],
    build: () => [],
    programs: {
      state: ['venv/bin/python', 'state_table.py'],
      raw: ['venv/bin/python', 'raw_newest.py'],
      conformance: ['venv/bin/python', 'conformance.py'],
    },
  },
  java: {
    needs: ['java', 'javac', 'mvn'],
    fetch: () => [
      ['mvn', '-B', '-q', 'dependency:copy-dependencies', '-DoutputDirectory=lib', '-DincludeScope=runtime'],
    ],
    build: (folder) => {
      const sources = readdirSync(join(folder, 'src')).map((name) => `src/${name}`)
      return [['javac', '--release', '17', '-Xlint:all', '-d', 'classes', '-cp', 'lib/*', ...sources]]
    },
    programs: { state: java('StateTable'), raw: java('RawNewest'), conformance: java('Conformance') },
  },
  go: {
    needs: ['go'],
    fetch: () => [['go', 'mod', 'download']],
    build: () => [
      ['go', 'vet', './...'],
      ['go', 'build', '-o', 'bin/', './...'],
    ],
    programs: { state: ['bin/state-table'], raw: ['bin/raw-newest'], conformance: ['bin/conformance'] },
  },
}

const examples = fileURLToPath(new URL('../../examples/', import.meta.url))
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'customer-stream', 'examples')
const BUILT = 'built'
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** Returns a name for the content of these folders. */
const contentOf = (folders: readonly string[]): string => {
  const entries = folders.flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
  const texts = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => `${name}\n${readFileSync(join(parentPath, name), 'base64')}\n`)
  return hash('sha256', texts.toSorted().join('')).slice(0, 12)
}

const runIn = async (cwd: string, [program, ...args]: Command, env: Readonly<Record<string, string>> = {}) =>
  promisify(execFile)(program.includes('/') ? resolve(cwd, program) : program, args, {
    cwd,
    // Without this setting, an older Go downloads a newer version of itself.
    env: { ...process.env, GOTOOLCHAIN: 'local', ...env },
    maxBuffer: MAX_OUTPUT_BYTES,
  })

/** @returns the reason why a step failed, in one line. Undefined if all steps passed. */
const failureOf = async (folder: string, commands: readonly Command[]): Promise<string | undefined> => {
  for (const command of commands) {
    try {
      await runIn(folder, command)
    } catch (error) {
      const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string }
      return `${command.join(' ')}: ${(stderr.trim() || stdout.trim() || message).split('\n').at(-1)}`
    }
  }
}

const missingPrograms = ({ needs }: Recipe): string[] => {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return needs.filter((program) => !folders.some((folder) => existsSync(join(folder, program))))
}

/** A built example. */
export interface Example {
  run(
    program: ProgramName,
    env?: Readonly<Record<string, string>>,
    ...args: string[]
  ): Promise<{ readonly stdout: string; readonly stderr: string }>
}

/**
 * Builds an example.
 * @returns the example, or the reason why this machine cannot build it.
 * @throws Error if the example itself does not build.
 */
export const buildExample = async (language: Language): Promise<Example | { readonly missing: string }> => {
  const recipe = recipes[language]
  const source = join(examples, language)
  const { packages = [] } = recipe
  const content = contentOf([source, ...packages.map((name) => join(root, 'packages', name, 'src'))])
  const folder = join(cache, `${language}-${content}`)
  const example: Example = {
    run: (program, env = {}, ...args) => runIn(folder, [...recipe.programs[program], ...args] as Command, env),
  }
  const missing = missingPrograms(recipe)
  if (missing.length > 0) return { missing: `${missing.join(' and ')} not on the PATH` }
  if (existsSync(join(folder, BUILT))) return example
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  cpSync(source, folder, { recursive: true })
  const tarballs = packages.length > 0 ? await packPackages(packages, folder) : {}
  const notFetched = await failureOf(folder, recipe.fetch(Object.values(tarballs)))
  if (notFetched !== undefined) return { missing: notFetched }
  const notBuilt = await failureOf(folder, recipe.build(folder))
  if (notBuilt !== undefined) throw new Error(notBuilt)
  writeFileSync(join(folder, BUILT), '')
  return example
}
