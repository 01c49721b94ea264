import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { untilDone } from './guarded-process.ts'
import { dataFolder, type Run } from './run.ts'

type Log = (line: string) => void

export const findOnPath = (program: string): string | undefined =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })

const hasJava17 = async (): Promise<boolean> => {
  // macOS has a `java` that only says that there is none.
  const { stderr } = await promisify(execFile)('java', ['-version']).catch(() => ({ stderr: '' }))
  return Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0) >= 17
}

const missingPrograms = async (): Promise<string[]> => [
  ...((await hasJava17()) ? [] : ['Java 17 or newer']),
  ...(findOnPath('mvn') ? [] : ['Maven']),
]

const installOnDebian = async (log: Log): Promise<void> => {
  log('installing default-jre-headless and maven with apt-get')
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'default-jre-headless', 'maven']]) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    // The lock's time-out: another start on this machine may be installing as well.
    const apt = spawn('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] })
    await once(apt, 'exit')
  }
}

let programs: Promise<void> | undefined

const checkPrograms = async (log: Log): Promise<void> => {
  let missing = await missingPrograms()
  if (missing.length > 0 && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    await installOnDebian(log)
    missing = await missingPrograms()
  }
  if (missing.length > 0) throw new Error(`To run Kafka and Redis without Docker, install ${missing.join(' and ')}.`)
}

export const requireJavaAndMaven = (log: Log): Promise<void> => {
  programs ??= checkPrograms(log)
  return programs
}

const pomOf = (artifacts: readonly string[]): string => {
  const dependencies = artifacts.map((artifact) => {
    const [group, name, version] = artifact.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`
  })
  return `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>customer-stream</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>${dependencies.join('\n')}</dependencies>
</project>`
}

// Maven does not promise that two of it can fill one local repository.
let turn: Promise<unknown> = Promise.resolve()

export interface Fetch {
  /** Of the folder the files are kept in. */
  readonly name: string
  /** `group:artifact:version` */
  readonly artifacts: readonly string[]
  readonly goal: 'dependency:copy-dependencies' | 'dependency:unpack-dependencies'
  readonly options?: readonly string[]
  /** Work on the fetched files that need not be repeated. */
  readonly prepare?: (folder: string) => Promise<void>
}

/** Fetches from Maven Central, once for this working copy. The folder appears whole or not at all, so whoever sees it may use it. */
export const fetchOnce = async ({ name, artifacts, goal, options = [], prepare }: Fetch, run: Run, log: Log): Promise<string> => {
  const kept = join(dataFolder, 'jars', name)
  if (existsSync(kept)) return kept
  await requireJavaAndMaven(log)

  const workFolder = run.makeFolder(`fetch-${name}`)
  const fetched = join(workFolder, 'fetched')
  await mkdir(fetched)
  await writeFile(join(workFolder, 'pom.xml'), pomOf(artifacts))
  const runMaven = () => {
    log(`fetching ${name} from Maven Central, once`)
    const args = ['-q', '-B', '-f', join(workFolder, 'pom.xml'), goal, `-DoutputDirectory=${fetched}`, ...options]
    return untilDone('Maven', run.start({ command: 'mvn', args, logFile: join(workFolder, 'log.txt') }))
  }
  const mine = turn.then(runMaven)
  turn = mine.catch(() => {})
  await mine
  await prepare?.(fetched)

  await mkdir(dirname(kept), { recursive: true })
  await rename(fetched, kept).catch((error) => {
    if (!existsSync(kept)) throw error // another process was faster: take its folder
  })
  return kept
}
