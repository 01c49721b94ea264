import { createRequire } from 'node:module'
import { patchBrokerConnect } from './broker-connect.ts'
import { patchClock } from './clock.ts'
import { patchConnection } from './connection.ts'
import { patchCoordinatorSearch } from './coordinator.ts'
import { patchFetch } from './fetch.ts'
import { patchFetchCost } from './fetch-cost.ts'
import { patchHandshake } from './handshake.ts'
import { patchIsolation } from './isolation.ts'
import { patchLogin } from './login.ts'
import { patchMetadata } from './metadata.ts'
import { patchMissingLeader } from './missing-leader.ts'
import { patchProduceConnection } from './produce-connection.ts'
import { patchProduceRequest } from './produce-request.ts'
import { patchEncoder } from './request-bytes.ts'
import { patchDelayedDisconnect, patchRequestQueue, patchThrottle } from './request-queue.ts'

const WRITTEN_FOR = '2.2.4'

/**
 * Applies all patches of kafkajs. Must run before a client is created.
 * @throws Error if another version of kafkajs is installed. Each patch must then be reviewed.
 */
export const patchKafkajs = (): void => {
  const { version } = createRequire(import.meta.url)('kafkajs/package.json') as { version: string }
  if (version !== WRITTEN_FOR)
    throw new Error(`The patches of kafkajs are written for version ${WRITTEN_FOR}, found ${version}`)
  patchRequestQueue()
  patchThrottle()
  patchDelayedDisconnect()
  patchClock()
  patchBrokerConnect()
  // patchHandshake must run before patchConnection, so that concurrent calls share one attempt.
  patchHandshake()
  patchConnection()
  // patchIsolation must run before patchMissingLeader, because both wrap the same function. In the
  // other order, the chosen isolation level would apply to the metadata refreshes of
  // patchMissingLeader.
  patchIsolation()
  patchMissingLeader()
  patchCoordinatorSearch()
  patchLogin()
  patchMetadata()
  patchProduceConnection()
  patchProduceRequest()
  patchEncoder()
  patchFetch()
  patchFetchCost()
}
