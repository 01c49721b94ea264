import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import type { Redis } from '@customer-stream/runtime/redis'
import { openRedis } from '../open-redis.ts'
import { freePorts } from './free-ports.ts'
import { CONFIGURATION_FILE, type LocalRedisServer, ping, redisBinary, startRedisAt } from './local-redis.ts'
import { openRun, type Run } from './run.ts'
import { untilReady } from './supervised-process.ts'

const NAME = 'mymaster'
const SENTINELS = 3
const QUORUM = 2
/** Sentinel starts a failover when the primary has not answered for this time. */
const DOWN_AFTER_MS = 1000

export interface SentinelOptions {
  /** Password that the Sentinels demand. */
  readonly password?: string
}

/** A primary and a replica, which three Sentinels watch. All are local processes. */
export interface RedisWithSentinels {
  /** Settings of a client. */
  readonly env: Readonly<Record<'REDIS_URL' | 'REDIS_SENTINELS' | 'REDIS_SENTINEL_PASSWORD', string>>
  /** The first server is the primary at the start. */
  readonly servers: readonly [LocalRedisServer, LocalRedisServer]
  /** Returns the server that the Sentinels name as the primary. */
  primary(): Promise<LocalRedisServer>
  /** Resolves when the Sentinels know each other and the replica, so a failover can begin. */
  untilWatched(): Promise<void>
  /** Asks a Sentinel to make the replica the primary. */
  failOver(): Promise<void>
  stop(): Promise<void>
}

interface SentinelPlace {
  readonly port: number
  readonly primaryPort: number
  readonly password: string
}

const startSentinel = async (run: Run, log: (line: string) => void, { port, primaryPort, password }: SentinelPlace) => {
  const folder = run.makeFolder(`sentinel-${port}`)
  // Sentinel writes its state to this file.
  const file = join(folder, 'sentinel.conf')
  const configuration = [
    `port ${port}`,
    'bind 127.0.0.1',
    `sentinel monitor ${NAME} 127.0.0.1 ${primaryPort} ${QUORUM}`,
    `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${NAME} 5000`,
    ...(password === '' ? [] : [`requirepass ${password}`]),
  ]
  await writeFile(file, `${configuration.join('\n')}\n`)
  const command = await redisBinary(run, log)
  const supervised = run.start({ command, args: [file, '--sentinel'], cwd: folder, logFile: join(folder, 'log.txt') })
  await untilReady('Sentinel', supervised, async () => /^(\+PONG|-NOAUTH)/.test(await ping(port)))
}

/** Sends one command to a Sentinel. Resolves with the reply. */
const ask = async (port: number, password: string, ...words: readonly [string, ...string[]]): Promise<unknown> => {
  const client = (await openRedis({ REDIS_URL: `redis://:${password}@127.0.0.1:${port}` })) as Redis
  try {
    return await client.call('SENTINEL', ...words)
  } finally {
    client.disconnect()
  }
}

export const startRedisWithSentinels = async (
  { password = '' }: SentinelOptions = {},
  log: (line: string) => void = () => {},
): Promise<RedisWithSentinels> => {
  const run = await openRun()
  try {
    const [primaryPort, replicaPort, ...sentinelPorts] = (await freePorts(2 + SENTINELS)) as [
      number,
      number,
      ...number[],
    ]
    const start = async (port: number, configuration = '') => {
      const folder = run.makeFolder(`redis-${port}`)
      await writeFile(join(folder, CONFIGURATION_FILE), configuration)
      return startRedisAt({ port, folder }, run, log)
    }
    const primary = await start(primaryPort)
    const replica = await start(replicaPort, `replicaof 127.0.0.1 ${primaryPort}\n`)
    for (const port of sentinelPorts) await startSentinel(run, log, { port, primaryPort, password })
    const [anySentinel] = sentinelPorts as [number]
    return {
      env: {
        REDIS_URL: `redis://${NAME}`,
        REDIS_SENTINELS: sentinelPorts.map((port) => `127.0.0.1:${port}`).join(','),
        REDIS_SENTINEL_PASSWORD: password,
      },
      servers: [primary, replica],
      primary: async () => {
        const [, port] = (await ask(anySentinel, password, 'GET-MASTER-ADDR-BY-NAME', NAME)) as string[]
        return Number(port) === primaryPort ? primary : replica
      },
      untilWatched: async () => {
        const known = async () => {
          const fields = (await ask(anySentinel, password, 'MASTER', NAME)) as string[]
          return ['num-other-sentinels', 'num-slaves'].map((name) => fields[fields.indexOf(name) + 1]).join()
        }
        await waitUntil('the Sentinels know each other and the replica', known, (counts) => counts === '2,1')
      },
      failOver: async () => {
        const begin = () => ask(anySentinel, password, 'FAILOVER', NAME).catch(String)
        await waitUntil('Sentinel begins the failover', begin, (reply) => reply === 'OK')
      },
      stop: () => run.close(),
    }
  } catch (error) {
    await run.close()
    throw error
  }
}
