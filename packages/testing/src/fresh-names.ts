import { randomBytes } from 'node:crypto'

/**
 * Returns names that no other test uses. So all tests can share one Kafka and one Redis, and no
 * test must flush them.
 */
export const freshNames = () => {
  const unique = randomBytes(6).toString('hex')
  return { topicPrefix: `t${unique}.`, groupId: `g${unique}`, keyPrefix: `k${unique}:` }
}
