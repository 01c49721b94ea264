import { execFile, spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, delimiter, dirname, join, relative } from 'node:path'
import { isDeepStrictEqual, promisify } from 'node:util'
import { dataFolder, type Run } from './run.ts'
import { untilExit } from './supervised-process.ts'

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
  // Run Java to see whether it is installed. A search of the PATH is not enough: the `java` of
  // macOS may only print a message.
  const asked = promisify(execFile)('java', ['-version'])
  // Kill Java if this process ends first.
  const end = () => void asked.child.kill('SIGKILL')
  process.once('exit', end)
  const { stderr } = await asked.catch(() => ({ stderr: '' }))
  process.off('exit', end)
  return Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0) >= 17
}

const missingPrograms = async (): Promise<string[]> => [
  ...((await hasJava17()) ? [] : ['Java 17 or newer']),
  ...(findOnPath('mvn') ? [] : ['Maven']),
]

const installOnDebian = async (log: Log): Promise<void> => {
  log('installing default-jdk-headless and maven with apt-get')
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'default-jdk-headless', 'maven']]) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    // Wait for the lock of apt, because another test run on this machine may be installing
    // packages.
    const apt = spawn('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...args], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    await once(apt, 'exit')
  }
}

export class MissingProgramsError extends Error {
  constructor(missing: readonly string[]) {
    super(`To run Kafka and Redis without Docker, install ${missing.join(' and ')}.`)
  }
}

let programs: Promise<void> | undefined

const checkPrograms = async (log: Log): Promise<void> => {
  let missing = await missingPrograms()
  if (missing.length > 0 && process.getuid?.() === 0 && findOnPath('apt-get')) {
    await installOnDebian(log)
    missing = await missingPrograms()
  }
  if (missing.length > 0) throw new MissingProgramsError(missing)
}

export const requireJavaAndMaven = (log: Log): Promise<void> => {
  programs ??= checkPrograms(log)
  return programs
}

const pomOf = (artifacts: readonly string[]): string => {
  const dependencies = artifacts.map((artifact) => {
    const [group, name, version] = artifact.split(':')
    const id = `<groupId>${group}</groupId><artifactId>${name}</artifactId>`
    return `<dependency>${id}<version>${version}</version></dependency>`
  })
  return `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>customer-stream</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>${dependencies.join('\n')}</dependencies>
</project>`
}

/** Locale for Java. Java takes the encoding of file names from the locale. */
export const JAVA_LOCALE = { LC_ALL: 'C.UTF-8' }

// Only one Maven may run at a time, because two processes may damage the local repository.
let turn: Promise<unknown> = Promise.resolve()

export interface Fetch {
  /** Name of the folder for the files. */
  readonly name: string
  /** `group:artifact:version` */
  readonly artifacts: readonly string[]
  readonly goal: 'dependency:copy-dependencies' | 'dependency:unpack-dependencies'
  readonly options?: readonly string[]
  /** Changes the fetched files. Called only once. */
  readonly prepare?: (folder: string) => Promise<void>
}

const CLASSPATH_FILE = 'classpath.txt'
const LOG_FILE = 'log.txt'
const PROGRESS_INTERVAL_MS = 3000

/**
 * Reports the progress of Maven's downloads, from the lines in its log. Returns a function that
 * stops the reports.
 */
const reportDownloads = (name: string, logFile: string, log: Log): (() => void) => {
  let reported = 0
  const timer = setInterval(async () => {
    const { files, megabytes } = downloadsIn(await readFile(logFile, 'utf8').catch(() => ''))
    if (files === reported) return
    reported = files
    log(`fetching ${name}: ${megabytes.toFixed(1)} MB in ${files} files so far`)
  }, PROGRESS_INTERVAL_MS)
  return () => clearInterval(timer)
}

const UNITS: Readonly<Record<string, number>> = { B: 1e-6, kB: 1e-3, KB: 1e-3, MB: 1, GB: 1e3 }

/**
 * Counts the files that a Maven log reports as downloaded: `Downloaded from central: URL (1.2 MB at
 * 3.4 MB/s)`.
 */
export const downloadsIn = (mavenLog: string): { readonly files: number; readonly megabytes: number } => {
  const sizes = [...mavenLog.matchAll(/^(?:\[INFO\] )?Downloaded from .* \(([\d.]+) ([kKMG]?B)(?: at .*)?\)\s*$/gm)]
  return {
    files: sizes.length,
    megabytes: sizes.reduce((sum, [, size, unit]) => sum + Number(size) * (UNITS[unit!] ?? 0), 0),
  }
}

/**
 * Returns the jars and POMs that do not match their checksum files. Needed because Maven checks a
 * file only during the download.
 */
export const damagedFiles = async (jars: readonly string[]): Promise<string[]> => {
  const files = jars.flatMap((jar) => [jar, jar.replace(/\.jar$/, '.pom')])
  const isDamaged = async (file: string): Promise<boolean> => {
    const wanted = await readFile(`${file}.sha1`, 'utf8').catch(() => undefined)
    // Ignore text after the checksum, because some repositories write the name of the file there.
    return wanted !== undefined && wanted.trim().split(/\s/)[0] !== hash('sha1', await readFile(file).catch(() => ''))
  }
  const damaged = await Promise.all(files.map(isDamaged))
  return files.filter((_, i) => damaged[i])
}

const MANIFEST = 'manifest.json'

/** Returns the sizes of all files below a folder, by path. */
const sizesIn = async (folder: string): Promise<Record<string, number>> => {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
  const sizes = await Promise.all(files.map(async (file) => [relative(folder, file), (await stat(file)).size] as const))
  return Object.fromEntries(sizes.filter(([file]) => file !== MANIFEST).sort(([a], [b]) => (a < b ? -1 : 1)))
}

export const writeManifest = async (folder: string): Promise<void> =>
  writeFile(join(folder, MANIFEST), JSON.stringify(await sizesIn(folder)))

/** Returns true if the folder has each file with its recorded size. */
export const isWhole = async (folder: string): Promise<boolean> => {
  try {
    return isDeepStrictEqual(await sizesIn(folder), JSON.parse(await readFile(join(folder, MANIFEST), 'utf8')))
  } catch {
    return false
  }
}

/**
 * Fetches artifacts from Maven Central, once for this working copy. Replaces a folder that is not
 * complete.
 */
export const fetchOnce = async (
  { name, artifacts, goal, options = [], prepare }: Fetch,
  run: Run,
  log: Log,
): Promise<string> => {
  const kept = join(dataFolder, 'jars', name)
  if (await isWhole(kept)) return kept
  await requireJavaAndMaven(log)

  const cwd = run.makeFolder(`fetch-${name}`)
  const fetched = join(cwd, 'fetched')
  const logFile = join(cwd, LOG_FILE)
  await writeFile(join(cwd, 'pom.xml'), pomOf(artifacts))
  const runMaven = async () => {
    await mkdir(fetched)
    const args = [
      '-B',
      'dependency:build-classpath',
      goal,
      `-Dmdep.outputFile=${CLASSPATH_FILE}`,
      '-DoutputDirectory=fetched',
      ...options,
    ]
    const stopReporting = reportDownloads(name, logFile, log)
    await untilExit('Maven', run.start({ command: 'mvn', args, env: JAVA_LOCALE, cwd, logFile })).finally(stopReporting)
  }
  const runMavenWithCure = async () => {
    log(`fetching ${name} from Maven Central, once`)
    const failure = await runMaven().then(
      () => undefined,
      (error: Error) => error,
    )
    const classpath = await readFile(join(cwd, CLASSPATH_FILE), 'utf8').catch(() => '')
    const damaged = await damagedFiles(classpath.trim().split(delimiter))
    if (damaged.length > 0) {
      for (const file of damaged) log(`damaged in the cache of Maven, fetched again: ${file}`)
      await Promise.all(
        [...damaged, ...damaged.map((file) => `${file}.sha1`), fetched].map((path) => rm(path, { recursive: true })),
      )
      await runMaven()
    } else if (failure) throw failure
  }
  const mine = turn.then(runMavenWithCure)
  turn = mine.catch(() => {})
  await mine
  await prepare?.(fetched)
  await writeManifest(fetched)

  await mkdir(dirname(kept), { recursive: true })
  const placed = `${kept}-${basename(run.folder)}`
  const replaced = `${placed}-replaced`
  try {
    // Copy, because the run's folder may be on another file system. Java accepts an archive of
    // classes only if the jars still have their times.
    await cp(fetched, placed, { recursive: true, preserveTimestamps: true })
    await rename(kept, replaced).catch(() => {}) // usually no old folder exists
    await rename(placed, kept).catch(async (error) => {
      if (!(await isWhole(kept))) throw error // another process was faster: use its folder
    })
  } finally {
    await Promise.all([placed, replaced].map((path) => rm(path, { recursive: true, force: true })))
  }
  return kept
}
