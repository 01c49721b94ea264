import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, type GuardedProcess, startGuarded } from './guarded-process.ts'

/** Ignored by git. */
export const dataFolder = fileURLToPath(new URL('../../../../.data/', import.meta.url))
const runsFolder = join(dataFolder, 'run')
const pipelinesFolder = join(dataFolder, 'pipelines')

/** What one owner has started as local processes, with their data. */
export interface Run {
  readonly folder: string
  /** Makes a folder within the run's, for one server's files. */
  makeFolder(name: string): string
  start(command: Command): GuardedProcess
  /** Ends every process and removes the folder; nothing can be started after. */
  close(): Promise<void>
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

const makeOwnFolder = async (folders: string): Promise<string> => {
  const folder = join(folders, `${process.pid}-${randomUUID().slice(0, 8)}`)
  await mkdir(folder, { recursive: true })
  return folder
}

/** An owner killed with SIGKILL leaves its folder; the folder's name begins with the owner's pid. */
const removeOrphans = async (folders: string): Promise<void> => {
  for (const name of await readdir(folders).catch(() => [])) {
    if (!isAlive(Number.parseInt(name, 10))) await rm(join(folders, name), { recursive: true, force: true })
  }
}

/** Makes a folder for the logs of services. It outlives this process, so that a failed test can be looked into. */
export const makePipelineFolder = () => makeOwnFolder(pipelinesFolder)

/** Called once for a whole run of tests, and by each command: the folders of dead processes go. */
export const removeOldPipelineFolders = () => removeOrphans(pipelinesFolder)

export const openRun = async (folders = runsFolder): Promise<Run> => {
  await removeOrphans(folders)
  const folder = await makeOwnFolder(folders)

  const started = new Set<GuardedProcess>()
  let closed: Promise<void> | undefined
  return {
    folder,
    makeFolder: (name) => {
      const made = join(folder, name)
      mkdirSync(made)
      return made
    },
    start: (command) => {
      if (closed) throw new Error('the brokers were stopped while they started')
      const guarded = startGuarded(command)
      started.add(guarded)
      void guarded.ended.then(() => started.delete(guarded))
      return guarded
    },
    close: () => {
      closed ??= Promise.all([...started].map((guarded) => guarded.end())).then(() =>
        // Again where a start that was given up has put a file into it meanwhile.
        rm(folder, { recursive: true, force: true, maxRetries: 3 }),
      )
      return closed
    },
  }
}
