import { randomBytes } from 'node:crypto'

/** Returns names that no other test uses, because all tests share one Kafka and one Redis. */
export const freshNames = () => {
  const unique = randomBytes(6).toString('hex')
  return { topicPrefix: `t${unique}.`, groupId: `g${unique}`, keyPrefix: `k${unique}:` }
}
