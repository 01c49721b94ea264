import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { GenericContainer, getContainerRuntimeClient, ImageName, type StartedTestContainer, Wait } from 'testcontainers'
import { OWNER_LABEL } from './docker-guard.ts'
import { KAFKA_IMAGE, KafkaContainer } from './kafka-container.ts'
import type { Provider, RedisServer } from './provider.ts'

const REDIS_IMAGE = 'redis:8-alpine'
const ENGINE_TIMEOUT_MS = 10_000

// docker-guard.ts does Ryuk's work without an image of its own, which a machine that cannot pull would lack.
process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'

const guardScript = fileURLToPath(new URL('./docker-guard.ts', import.meta.url))

/** Resolves with why containers cannot be had, or with nothing. */
export const whyNoContainers = async (log: (line: string) => void): Promise<string | undefined> => {
  const engine = await Promise.race([
    getContainerRuntimeClient().catch(() => undefined),
    delay(ENGINE_TIMEOUT_MS, undefined, { ref: false }),
  ])
  if (!engine) return 'no container engine answers'
  for (const image of [KAFKA_IMAGE, REDIS_IMAGE]) {
    const name = ImageName.fromString(image)
    try {
      if (await engine.image.exists(name)) continue
      log(`pulling ${image}`)
      await engine.image.pull(name)
    } catch (error) {
      return `a container engine answers, but ${image} is not there and cannot be pulled (${(error as Error).message.trim()})`
    }
  }
  return undefined
}

const redisServerOf = (container: StartedTestContainer): RedisServer => {
  const engineContainer = async () => (await getContainerRuntimeClient()).container.getById(container.getId())
  let stopped: Promise<void> | undefined
  return {
    url: `redis://${container.getHost()}:${container.getMappedPort(6379)}`,
    stop: () => {
      stopped ??= container.stop().then(() => {})
      return stopped
    },
    pause: async () => void (await (await engineContainer()).pause()),
    resume: async () => void (await (await engineContainer()).unpause()),
  }
}

/** Containers, all with one label that the guard knows them by. */
export const openDocker = (): Provider => {
  const owner = randomUUID()
  const guard = spawn(process.execPath, [guardScript, owner], { detached: true, stdio: ['pipe', 'ignore', 'inherit'] })
  const guardInput = guard.stdin as Writable
  guardInput.on('error', () => {})
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
    startRedis: async ({ args = [], env = {} } = {}) => {
      const redis = new GenericContainer(REDIS_IMAGE)
        .withExposedPorts(6379)
        .withEnvironment({ ...env })
        .withCommand(['redis-server', '--protected-mode', 'no', '--save', '', '--appendonly', 'yes', ...args])
        .withWaitStrategy(Wait.forSuccessfulCommand('redis-cli ping'))
      return redisServerOf(await start(redis))
    },
    close: async () => {
      // A container is not seen before it is made: let the start settle, then the guard removes all at once.
      closed ??= Promise.allSettled(starting).then(() => {
        guardInput.end()
        return once(guard, 'exit')
      })
      await closed
    },
  }
}
