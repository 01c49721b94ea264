import type { RedisClient } from '@customer-stream/runtime/redis'
import { type ProjectorReport, readReport, reportsKey } from '@customer-stream/schemas'

/** Time after which the report of a process that has ended is deleted. */
const KEPT_MS = 3_600_000

/** Stores the report, and deletes old reports of other processes. */
export const saveReport = async (
  redis: RedisClient,
  { keyPrefix, instance }: { readonly keyPrefix: string; readonly instance: string },
  report: ProjectorReport,
): Promise<void> => {
  const key = reportsKey(keyPrefix)
  await redis.hset(key, instance, JSON.stringify(report))
  const others = (await redis.hkeys(key)).filter((each) => each !== instance)
  if (others.length === 0) return
  const texts = await redis.hmget(key, ...others)
  const old = others.filter((_, i) => report.at - (readReport(texts[i] ?? '')?.at ?? 0) > KEPT_MS)
  if (old.length > 0) await redis.hdel(key, ...old)
}
