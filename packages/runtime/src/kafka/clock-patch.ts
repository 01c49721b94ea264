import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * Makes a property that kafkajs fills with moments of the wall clock keep its distance from now when that clock is set: what is kept is a moment of the
 * monotonic clock, and it is told in the time that the wall clock shows when somebody asks.
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
 * kafkajs 2.2.4 measures every interval by the wall clock. Once that is set back by an hour, a consumer sends no heartbeat for an hour: it is thrown out of its
 * group and does not learn of it, so that partitions stay without an owner while everything seems well. A request that is never answered would be waited for
 * as long, metadata be taken for fresh and a throttled connection stay shut. Set forward, every request under way is given up at once.
 * Must run before a client is created.
 */
export const patchClock = (): void => {
  followClock('consumer/consumerGroup', 'lastRequest')
  followClock('network/requestQueue/socketRequest', 'sentAt')
  followClock('network/requestQueue', 'throttledUntil')
  followClock('cluster/brokerPool', 'metadataExpireAt')
}
