/** Checks whether this Redis is safe to use: at the start, and then at intervals. */
import { answerOf, type Diagnosis, type Logger, type Obstacles } from '@customer-stream/runtime'
import {
  createRedisDiagnose,
  type RedisClient,
  type RedisSettings,
  readDurability,
} from '@customer-stream/runtime/redis'
import type { Rights, Store } from './store.ts'

/** Error: Redis does not meet a requirement, and a person must act. */
export class UnsafeRedisError extends Error {
  override readonly name = 'UnsafeRedisError'
}

export interface RedisCheck {
  /** Rejects if Redis does not answer, may evict customers, or denies a right. */
  check(): Promise<void>
  /** Checks while the projector runs. Reports an obstacle and does not reject. */
  watch(): Promise<void>
  /** Returns the reason why Redis does not answer in time. Undefined if Redis answers. */
  outage(): Promise<Diagnosis | undefined>
  diagnose(error: Error): Diagnosis
}

export interface RedisCheckDependencies {
  readonly redis: RedisClient
  readonly store: Rights & Pick<Store, 'ping'>
  readonly settings: RedisSettings & { readonly READINESS_TIMEOUT_MS: number }
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly logger: Logger
}

export const createRedisCheck = ({ redis, store, settings, obstacles, logger }: RedisCheckDependencies): RedisCheck => {
  const diagnoseRedis = createRedisDiagnose(settings, redis)
  const logged = new Set<string>()
  const check = async () => {
    for (const { appendOnly, evictionPolicy, mayEvict, clustered } of await readDurability(redis)) {
      if (clustered && !settings.REDIS_CLUSTER)
        throw new UnsafeRedisError('This Redis is a node of a cluster. Set REDIS_CLUSTER=true.')
      if (mayEvict && !settings.REDIS_ALLOW_EVICTION) {
        throw new UnsafeRedisError(
          `Redis may drop customers: its maxmemory-policy is ${evictionPolicy}. Set maxmemory-policy to noeviction, ` +
            'or accept the loss with REDIS_ALLOW_EVICTION=true.',
        )
      }
      // A Redis without persistence is allowed, because the projector applies lost events again.
      const durability = { appendonly: appendOnly, 'maxmemory-policy': evictionPolicy }
      if (logged.has(JSON.stringify(durability))) continue
      logged.add(JSON.stringify(durability))
      if (appendOnly === false)
        logger.warn(
          durability,
          'Redis has no append-only file: after a restart of Redis, events since its last snapshot are applied again',
        )
      else logger.info(durability, 'Redis stores data on its disk')
    }
    const denied = await store.deniedCommands()
    if (denied.length > 0) throw new Error(`NOPERM the user may not call ${denied.join(', ')}`)
  }
  const diagnose = (error: Error): Diagnosis =>
    error instanceof UnsafeRedisError
      ? { blocked: true, reason: 'redis', message: error.message }
      : diagnoseRedis(error)
  return {
    check,
    diagnose,
    outage: () => answerOf(store.ping, settings.READINESS_TIMEOUT_MS).then(() => undefined, diagnose),
    watch: async () => obstacles.report('redis', await check().then(() => undefined, diagnose)),
  }
}
