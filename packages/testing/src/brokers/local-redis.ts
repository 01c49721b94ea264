import { execFile } from 'node:child_process'
import { chmod } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePorts } from './free-ports.ts'
import { type GuardedProcess, untilReady } from './guarded-process.ts'
import { fetchOnce, findOnPath } from './maven.ts'
import type { RedisOptions, RedisServer } from './provider.ts'
import type { Run } from './run.ts'

/** As embedded-redis names them. The first for x64 Linux wants OpenSSL 3 on the machine, the second nothing. */
const binaries: Readonly<Record<string, readonly string[]>> = {
  'linux-x64': ['redis-server-6.2.6-v5-linux-amd64', 'redis-server-6.2.7-linux-386'],
  'linux-arm64': ['redis-server-6.2.7-linux-arm64'],
  'darwin-x64': ['redis-server-6.2.6-v5-darwin-amd64'],
  'darwin-arm64': ['redis-server-6.2.6-v5-darwin-arm64'],
}

const fetchBinary = async (run: Run, log: (line: string) => void): Promise<string> => {
  const names = binaries[`${process.platform}-${process.arch}`]
  if (!names) throw new Error(`To run Redis without Docker on ${process.platform} ${process.arch}, install redis-server.`)
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
  throw new Error(`To run Redis without Docker, install redis-server: ${names.join(' and ')} do not run on this machine.`)
}

const answersPing = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    const done = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.setTimeout(1000, () => done(false))
    socket.once('error', () => done(false))
    socket.once('data', (reply) => done(/^(\+PONG|-NOAUTH)/.test(reply.toString())))
  })

let binary: Promise<string> | undefined
let started = 0

/** Where a server listens and keeps its data: one started again in its place finds what it left there. */
export interface RedisPlace {
  readonly port: number
  readonly folder: string
}

/** redis-server from the PATH, else the binary that embedded-redis carries. */
export const startRedisAt = async (
  { port, folder }: RedisPlace,
  run: Run,
  log: (line: string) => void,
  { args = [], env = {} }: RedisOptions = {},
): Promise<GuardedProcess> => {
  binary ??= Promise.resolve(findOnPath('redis-server') ?? fetchBinary(run, log))
  const place = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder]
  const server = run.start({
    command: await binary,
    args: [...place, '--save', '', '--appendonly', 'yes', ...args],
    env,
    logFile: join(folder, 'log.txt'),
  })
  await untilReady('Redis', server, () => answersPing(port))
  return server
}

export const startLocalRedis = async (run: Run, log: (line: string) => void, options?: RedisOptions): Promise<RedisServer> => {
  const [port] = (await freePorts(1)) as [number]
  started += 1
  const server = await startRedisAt({ port, folder: run.makeFolder(`redis-${started}`) }, run, log, options)
  const pid = await server.pid
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: () => server.end(),
    pause: async () => void process.kill(pid, 'SIGSTOP'),
    resume: async () => void process.kill(pid, 'SIGCONT'),
  }
}
