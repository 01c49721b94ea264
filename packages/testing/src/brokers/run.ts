import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, type SupervisedProcess, startSupervised } from './supervised-process.ts'

/** Folder for the data of tests and commands. Git ignores it. */
export const dataFolder = fileURLToPath(new URL('../../../../.data/', import.meta.url))
const runsFolder = join(dataFolder, 'run')
const pipelinesFolder = join(dataFolder, 'pipelines')

/** Local server processes of one owner (a test run or command), with their data. */
export interface Run {
  readonly folder: string
  /** Creates a folder inside the run's folder, for the files of one server. */
  makeFolder(name: string): string
  start(command: Command): SupervisedProcess
  /** Ends every process and removes the folder. No process can be started afterwards. */
  close(): Promise<void>
}

export const isAlive = (pid: number): boolean => {
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

/**
 * Removes the folders of owners that no longer run. An owner that was killed with SIGKILL has not
 * removed its folder. The name of a folder begins with the owner's pid.
 */
const removeOrphans = async (folders: string): Promise<void> => {
  for (const name of await readdir(folders).catch(() => [])) {
    if (!isAlive(Number.parseInt(name, 10))) await rm(join(folders, name), { recursive: true, force: true })
  }
}

/**
 * Creates a folder for the logs of the services. The folder stays after this process, so that a
 * person can examine a failed test.
 */
export const makePipelineFolder = () => makeOwnFolder(pipelinesFolder)

/**
 * Removes the pipeline folders of dead processes. Called once for each test run, and by each
 * command.
 */
export const removeOldPipelineFolders = () => removeOrphans(pipelinesFolder)

export const openRun = async (folders = runsFolder): Promise<Run> => {
  await removeOrphans(folders)
  const folder = await makeOwnFolder(folders)

  const started = new Set<SupervisedProcess>()
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
      const supervised = startSupervised(command)
      started.add(supervised)
      void supervised.ended.then(() => started.delete(supervised))
      return supervised
    },
    close: () => {
      closed ??= Promise.all([...started].map((supervised) => supervised.end())).then(() =>
        // Retry the removal, because a cancelled start may create a file during the removal.
        rm(folder, { recursive: true, force: true, maxRetries: 3 }),
      )
      return closed
    },
  }
}
