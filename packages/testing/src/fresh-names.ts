import { randomBytes } from 'node:crypto'

/** Names that no other test uses, so that all can share one Kafka and one Redis and nothing is ever flushed. */
export const freshNames = () => {
  const unique = randomBytes(6).toString('hex')
  return { topicPrefix: `t${unique}.`, groupId: `g${unique}`, keyPrefix: `k${unique}:` }
}
