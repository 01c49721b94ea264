import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import {
  type GenericContainer,
  getContainerRuntimeClient,
  ImageName,
  type StartedTestContainer,
  Wait,
} from 'testcontainers'
import { OWNER_LABEL } from './docker-supervisor.ts'
import { freePorts } from './free-ports.ts'
import { clusterContainer, KAFKA_IMAGE, KafkaContainer, restartKafka } from './kafka-container.ts'
import { CLUSTER_SIZE } from './kafka-settings.ts'
import { ping } from './local-redis.ts'
import { LoopbackContainer } from './loopback-container.ts'
import { findOnPath } from './maven.ts'
import type { KafkaNode, Provider, RedisServer } from './provider.ts'
import { whyNoEngine, whyNotGivenEngine } from './why-no-engine.ts'

const REDIS_IMAGE = 'redis:8-alpine'
const REDIS_PORT = 6379
const ENGINE_TIMEOUT_MS = 10_000

// Disable Ryuk, the cleanup container of testcontainers, because not every machine can pull its
// image. docker-supervisor.ts removes the containers instead.
process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'

const supervisorScript = fileURLToPath(new URL('./docker-supervisor.ts', import.meta.url))

type Log = (line: string) => void

/**
 * Pulls an image. Uses the command `docker` if possible, because that command shows sizes and has
 * the user's logins.
 */
const pull = async (image: string, log: Log): Promise<void> => {
  log(`pulling ${image}, once`)
  const name = ImageName.fromString(image)
  const engine = await getContainerRuntimeClient()
  if (findOnPath('docker')) {
    await once(spawn('docker', ['pull', image], { stdio: ['ignore', process.stderr, process.stderr] }), 'exit')
    if (await engine.image.exists(name)) return
  }
  await engine.image.pull(name)
}

/** Resolves with the reason why containers cannot be used. Undefined if containers can be used. */
export const whyNoContainers = async (log: Log): Promise<string | undefined> => {
  const problem = await whyNotGivenEngine(process.env)
  if (problem !== undefined) return problem
  const engine = await Promise.race([
    getContainerRuntimeClient().catch(() => undefined),
    delay(ENGINE_TIMEOUT_MS, undefined, { ref: false }),
  ])
  if (!engine) return whyNoEngine()
  for (const image of [KAFKA_IMAGE, REDIS_IMAGE]) {
    try {
      if (!(await engine.image.exists(ImageName.fromString(image)))) await pull(image, log)
    } catch (error) {
      return (
        `a container engine answers, but ${image} is not there and cannot be pulled ` +
        `(${(error as Error).message.trim()})`
      )
    }
  }
  return undefined
}

const engineContainer = async (container: StartedTestContainer) =>
  (await getContainerRuntimeClient()).container.getById(container.getId())

/**
 * @param create creates the container. Called again to replace a container whose data must be lost.
 */
const startRedisServer = async (create: () => Promise<StartedTestContainer>): Promise<RedisServer> => {
  let container = await create()
  let hasData = true
  const host = container.getHost()
  const port = container.getMappedPort(REDIS_PORT)
  let stopped: Promise<void> | undefined
  return {
    url: `redis://${host}:${port}`,
    stop: () => {
      stopped ??= container.stop().then(() => {})
      return stopped
    },
    pause: async () => void (await (await engineContainer(container)).pause()),
    resume: async () => void (await (await engineContainer(container)).unpause()),
    kill: async () => void (await (await engineContainer(container)).kill()),
    // Remove the container with its volume, because a stopped container keeps its volume.
    loseData: async () => {
      hasData = false
      await (await engineContainer(container)).remove({ force: true, v: true })
    },
    restart: async () => {
      if (hasData) await (await engineContainer(container)).start()
      else container = await create()
      hasData = true
      await waitUntil(
        `Redis answers at ${host}:${port}`,
        () => ping(port, host),
        (reply) => reply.startsWith('+PONG'),
      )
    },
  }
}

const kafkaNodeOf = (id: number, container: StartedTestContainer): KafkaNode => {
  let starts = 1
  return {
    id,
    address: `${container.getHost()}:${container.getMappedPort(9092)}`,
    kill: async () => void (await (await engineContainer(container)).kill()),
    restart: async () => {
      await restartKafka(container.getId(), starts)
      starts += 1
    },
  }
}

/**
 * Opens a provider of servers in containers. `docker-supervisor.ts` finds all containers by their
 * label, and removes them when this process ends.
 */
export const openDocker = (): Provider => {
  const owner = randomUUID()
  const supervisor = spawn(process.execPath, [supervisorScript, owner], {
    detached: true,
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const supervisorInput = supervisor.stdin as Writable
  supervisorInput.on('error', () => {})
  const starting: Promise<unknown>[] = []
  const start = (container: GenericContainer): Promise<StartedTestContainer> => {
    const started = container.withLabels({ [OWNER_LABEL]: owner }).start()
    starting.push(started)
    return started
  }

  let closed: Promise<unknown> | undefined
  return {
    kind: 'docker',
    startKafka: async () => {
      const container = await start(new KafkaContainer())
      return `${container.getHost()}:${container.getMappedPort(9092)}`
    },
    startKafkaCluster: async () => {
      const engine = await getContainerRuntimeClient()
      await engine.container.dockerode.createNetwork({ Name: owner, Labels: { [OWNER_LABEL]: owner } })
      const host = engine.info.containerRuntime.host
      const ports = await freePorts(CLUSTER_SIZE)
      return Promise.all(
        ports.map(async (port, i) => kafkaNodeOf(i + 1, await start(clusterContainer(i + 1, owner, { host, port })))),
      )
    },
    startRedis: async ({ args = [], env = {} } = {}) => {
      // Choose the port before the start, so that a restarted Redis has the same port.
      const host = (await freePorts(1))[0]!
      return startRedisServer(() =>
        start(
          new LoopbackContainer(REDIS_IMAGE)
            .withExposedPorts({ container: REDIS_PORT, host })
            .withEnvironment({ ...env })
            .withCommand(['redis-server', '--protected-mode', 'no', '--save', '', '--appendonly', 'yes', ...args])
            .withWaitStrategy(Wait.forSuccessfulCommand('redis-cli ping')),
        ),
      )
    },
    close: async () => {
      // Wait for all starts first, because the supervisor cannot find a container that does not
      // exist yet.
      closed ??= Promise.allSettled(starting).then(() => {
        supervisorInput.end()
        return once(supervisor, 'exit')
      })
      await closed
    },
  }
}
