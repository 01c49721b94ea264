import { createRequire } from 'node:module'
import { errorType } from './error-type.ts'
import { failedRequestOf, noteFailedRequest } from './failed-request.ts'

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

/** Whether the search for the coordinator of a group failed. No such failure is final, whatever kafkajs says: the next search may find it. */
export const isCoordinatorSearch = (error: object): boolean => failedRequestOf(error)?.api === API

const require = createRequire(import.meta.url)
// The types of kafkajs know no message here.
const { KafkaJSBrokerNotFound } = require('kafkajs') as { KafkaJSBrokerNotFound: new (message: string) => Error }
const shuffle = require('kafkajs/src/utils/shuffle') as <T>(list: readonly T[]) => T[]

/**
 * kafkajs 2.2.4 asks one broker after the other for the coordinator of a group, and throws away what they answer: a missing right on the group, a topic of offsets that
 * cannot be created and a broker that restarts all become KafkaJSGroupCoordinatorNotFound. A broker that cannot be connected to ends the search, although the next one
 * could answer. Here the search goes on, and if no broker helps, the error of one of them is thrown: what a broker answered before what kept us from asking.
 * Must run before a client is created.
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
