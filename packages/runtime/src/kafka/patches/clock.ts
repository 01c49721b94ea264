import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * Corrects the time that kafkajs stores in `property` if somebody changes the wall clock. The
 * setter converts the given time to the monotonic clock. The getter converts the stored time back
 * to the current wall clock.
 */
const followClock = (module: string, property: string): void => {
  const { prototype } = require(`kafkajs/src/${module}`) as { prototype: object }
  const moments = new WeakMap<object, number>()
  Object.defineProperty(prototype, property, {
    set(this: object, moment: number | null) {
      if (moment === null) moments.delete(this)
      else moments.set(this, moment - Date.now() + performance.now())
    },
    get(this: object) {
      const moment = moments.get(this)
      return moment === undefined ? null : moment - performance.now() + Date.now()
    },
  })
}

/**
 * Makes the timers of kafkajs independent of changes of the wall clock. kafkajs 2.2.4 measures
 * every interval by the wall clock.
 *
 * If the clock is set back by an hour, kafkajs has these problems for up to an hour:
 * - A consumer sends no heartbeat. The group removes the consumer without an error. No other member
 *   gets the consumer's partitions.
 * - A request that is never answered does not time out.
 * - Old metadata counts as fresh.
 * - A throttled connection stays blocked.
 *
 * If the clock is set forward, all requests in flight time out immediately. Must run before a
 * client is created.
 */
export const patchClock = (): void => {
  followClock('consumer/consumerGroup', 'lastRequest')
  followClock('network/requestQueue/socketRequest', 'sentAt')
  followClock('network/requestQueue', 'throttledUntil')
  followClock('cluster/brokerPool', 'metadataExpireAt')
}
