import { randomBytes } from 'node:crypto'

/**
 * Returns names that no other test uses, so that all tests can share one Kafka and one Redis
 * without a flush.
 */
export const freshNames = () => {
  const unique = randomBytes(6).toString('hex')
  return { topicPrefix: `t${unique}.`, groupId: `g${unique}`, keyPrefix: `k${unique}:` }
}
