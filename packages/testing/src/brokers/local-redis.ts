import { execFile } from 'node:child_process'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePorts } from './free-ports.ts'
import { fetchOnce, findOnPath } from './maven.ts'
import type { RedisOptions, RedisServer } from './provider.ts'
import type { Run } from './run.ts'
import { type SupervisedProcess, untilReady } from './supervised-process.ts'

/**
 * Names of the binaries in embedded-redis. On x64 Linux, the first binary needs OpenSSL 3. The
 * second binary needs no library.
 */
const binaries: Readonly<Record<string, readonly string[]>> = {
  'linux-x64': ['redis-server-6.2.6-v5-linux-amd64', 'redis-server-6.2.7-linux-386'],
  'linux-arm64': ['redis-server-6.2.7-linux-arm64'],
  'darwin-x64': ['redis-server-6.2.6-v5-darwin-amd64'],
  'darwin-arm64': ['redis-server-6.2.6-v5-darwin-arm64'],
}

const fetchBinary = async (run: Run, log: (line: string) => void): Promise<string> => {
  const names = binaries[`${process.platform}-${process.arch}`]
  if (!names)
    throw new Error(`To run Redis without Docker on ${process.platform} ${process.arch}, install redis-server.`)
  const folder = await fetchOnce(
    {
      name: 'embedded-redis-1.4.3',
      artifacts: ['com.github.codemonstur:embedded-redis:1.4.3'],
      goal: 'dependency:unpack-dependencies',
      options: ['-DexcludeTransitive=true', '-Dmdep.unpack.includes=redis-server-*'],
      prepare: async (fetched) => {
        for (const name of names) await chmod(join(fetched, name), 0o755)
      },
    },
    run,
    log,
  )
  for (const name of names) {
    const binary = join(folder, name)
    const runs = await promisify(execFile)(binary, ['--version']).catch(() => undefined)
    if (runs) return binary
  }
  throw new Error(
    `To run Redis without Docker, install redis-server: ${names.join(' and ')} do not run on this machine.`,
  )
}

/** Returns the raw reply to PING, or an empty text if there is no reply. */
export const ping = (port: number, host = '127.0.0.1'): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect(port, host, () => socket.write('PING\r\n'))
    const done = (reply: string) => {
      socket.destroy()
      resolve(reply)
    }
    socket.setTimeout(1000, () => done(''))
    socket.once('error', () => done(''))
    socket.once('data', (reply) => done(reply.toString()))
  })

let binary: Promise<string> | undefined
let started = 0

/**
 * Returns the path of redis-server. If the PATH has no redis-server, returns the path of the binary
 * of embedded-redis.
 */
export const redisBinary = (run: Run, log: (line: string) => void): Promise<string> => {
  binary ??= Promise.resolve(findOnPath('redis-server') ?? fetchBinary(run, log))
  return binary
}

/** Name of the configuration file in the folder of a server. Sentinel changes this file. */
export const CONFIGURATION_FILE = 'redis.conf'

/** Port and data folder of a server. A restarted server in the same place finds its data. */
export interface RedisPlace {
  readonly port: number
  readonly folder: string
}

export interface LocalRedisServer extends RedisServer {
  /**
   * Starts the server again with its port and data. Resolves when the server has loaded the data
   * and accepts commands.
   */
  restart(moreArgs?: readonly string[]): Promise<void>
  /** Returns the raw reply to PING, e.g. `-LOADING …`, or an empty text if there is no reply. */
  ping(): Promise<string>
}

export const startRedisAt = async (
  { port, folder }: RedisPlace,
  run: Run,
  log: (line: string) => void,
  { args = [], env = {} }: RedisOptions = {},
): Promise<LocalRedisServer> => {
  const command = await redisBinary(run, log)
  const place = ['--port', `${port}`, '--bind', '127.0.0.1']
  const start = async (moreArgs: readonly string[]): Promise<SupervisedProcess> => {
    // Without a file, a restarted server would forget the role that Sentinel gave to it.
    await writeFile(join(folder, CONFIGURATION_FILE), '', { flag: 'a' })
    const supervised = run.start({
      command,
      args: [CONFIGURATION_FILE, ...place, '--save', '', '--appendonly', 'yes', ...args, ...moreArgs],
      env,
      // Redis stores its data in its working directory.
      cwd: folder,
      logFile: join(folder, 'log.txt'),
    })
    await untilReady('Redis', supervised, async () => /^(\+PONG|-NOAUTH)/.test(await ping(port)))
    return supervised
  }
  let server = await start([])
  const send = async (signal: NodeJS.Signals) => {
    if (!server.hasEnded()) process.kill(await server.pid, signal)
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: () => server.end(),
    pause: () => send('SIGSTOP'),
    resume: () => send('SIGCONT'),
    kill: async () => {
      await send('SIGKILL')
      await server.ended
    },
    loseData: async () => {
      await rm(folder, { recursive: true })
      await mkdir(folder)
    },
    restart: async (moreArgs = []) => {
      server = await start(moreArgs)
    },
    ping: () => ping(port),
  }
}

export const startLocalRedis = async (
  run: Run,
  log: (line: string) => void,
  options?: RedisOptions,
): Promise<LocalRedisServer> => {
  const [port] = (await freePorts(1)) as [number]
  started += 1
  return startRedisAt({ port, folder: run.makeFolder(`redis-${started}`) }, run, log, options)
}
