import { createRequire } from 'node:module'
import { errorType } from '../error-type.ts'
import { failedRequestOf, noteFailedRequest } from '../failed-request.ts'

interface Node {
  readonly nodeId: string
  readonly broker: object
}
interface Cluster {
  findGroupCoordinatorMetadata(group: object): Promise<unknown>
}
interface BrokerPool {
  readonly brokers: Readonly<Record<string, object>>
  findBroker(node: { nodeId: string }): Promise<object>
  withBroker(ask: (node: Node) => Promise<unknown>): Promise<unknown>
}

/** kafkajs' name of the request. */
const API = 'GroupCoordinator'

/**
 * Returns true if the error comes from a search for a group's coordinator. Such an error is never
 * final, because the next search may find the coordinator.
 */
export const isCoordinatorSearch = (error: object): boolean => failedRequestOf(error)?.api === API

const require = createRequire(import.meta.url)
// kafkajs' type declarations lack the message parameter.
const { KafkaJSBrokerNotFound } = require('kafkajs') as { KafkaJSBrokerNotFound: new (message: string) => Error }
const shuffle = require('kafkajs/src/utils/shuffle') as <T>(list: readonly T[]) => T[]

/**
 * Continues the search for a group's coordinator after a failed connection. Throws a broker's own
 * error if the search fails.
 *
 * kafkajs 2.2.4 asks one broker after another for the coordinator and drops their errors. Three
 * different failures become the same error, KafkaJSGroupCoordinatorNotFound. The three failures
 * are: a missing right on the group, an offsets topic that cannot be created, and a broker that
 * restarts. A broker that refuses the connection ends the search, although the next broker could
 * answer.
 *
 * With this patch, a failed search throws the error that a broker answered. If no broker answered,
 * the search throws a connection error. Must run before a client is created.
 */
export const patchCoordinatorSearch = (): void => {
  const { prototype } = require('kafkajs/src/cluster/brokerPool') as { prototype: BrokerPool }
  prototype.withBroker = async function (ask) {
    const nodeIds = shuffle(Object.keys(this.brokers))
    let failure: unknown = new KafkaJSBrokerNotFound('No brokers in the broker pool')
    for (const [i, nodeId] of nodeIds.entries()) {
      try {
        return await ask({ nodeId, broker: await this.findBroker({ nodeId }) })
      } catch (error) {
        if (i === 0 || errorType(failure) === undefined) failure = error
      }
    }
    throw failure
  }
  const cluster = (require('kafkajs/src/cluster') as { prototype: Cluster }).prototype
  const { findGroupCoordinatorMetadata } = cluster
  cluster.findGroupCoordinatorMetadata = async function (group) {
    try {
      return await findGroupCoordinatorMetadata.call(this, group)
    } catch (error) {
      noteFailedRequest(error, { api: API })
      throw error
    }
  }
}
