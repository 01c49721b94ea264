/**
 * Epochs from Kafka's transaction coordinator. Each request for a transactional id returns an epoch
 * that is later than all earlier epochs of this id, no matter which process asks (KIP-98). The
 * request begins no transaction.
 *
 * There is one exception: after 32,767 epochs the id gets another producer id. Kafka does not
 * refuse the last request of the former producer id.
 */
import { createRequire } from 'node:module'
import type { Epoch } from './batch-numbers.ts'
import type { Cluster } from './cluster.ts'
import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'

export interface TransactionalIds {
  /** Rejects with Kafka's error if Kafka gives no epoch now. */
  requestEpoch(id: string): Promise<Epoch>
  /**
   * Rejects if this user may not use the id, or if Kafka has no coordinator for the id. Changes
   * nothing in Kafka.
   */
  check(id: string): Promise<void>
}

const require = createRequire(import.meta.url)
const { EndTxn } = require('kafkajs/src/protocol/requests/apiKeys') as { EndTxn: number }
const endTxnVersions = require('kafkajs/src/protocol/requests/endTxn') as object

/** Kafka uses this timeout for transactions only. */
const TRANSACTION_TIMEOUT_MS = 10_000
/**
 * Asks for the coordinator of a transactional id. The value 0 would ask for the coordinator of a
 * group.
 */
const TRANSACTION_COORDINATOR = 1

/** Kafka never gives this producer id to a producer. */
const NO_PRODUCER_ID = '-1'

export const createTransactionalIds = (cluster: Cluster): TransactionalIds => {
  const attributedTo = <T>(id: string, work: () => Promise<T>) => attributed(`use the transactional id ${id}`, work)
  const findCoordinator = (id: string) =>
    attributedTo(id, () => cluster.findGroupCoordinator({ groupId: id, coordinatorType: TRANSACTION_COORDINATOR }))
  return {
    requestEpoch: async (transactionalId) => {
      try {
        const coordinator = await findCoordinator(transactionalId)
        const given = await attributedTo(transactionalId, () =>
          coordinator.initProducerId({ transactionalId, transactionTimeout: TRANSACTION_TIMEOUT_MS }),
        )
        return { producerId: BigInt(given.producerId), epoch: given.producerEpoch }
      } catch (error) {
        // The metadata may name a broker that is gone.
        await cluster.refreshMetadata().catch(() => undefined)
        throw error
      }
    },
    check: async (transactionalId) => {
      const coordinator = await findCoordinator(transactionalId)
      await attributedTo(transactionalId, async () => {
        // The search for the coordinator needs DESCRIBE. This request needs WRITE. Kafka checks the
        // right before the producer id, and ends no transaction of another producer id.
        const fields = { transactionalId, producerId: NO_PRODUCER_ID, producerEpoch: 0, transactionResult: false }
        const endTxn = coordinator.lookupRequest(EndTxn, endTxnVersions)(fields)
        try {
          // kafkajs would log the expected error at each check.
          await coordinator.connectionPool.send({ ...endTxn, logResponseError: false })
        } catch (error) {
          if (errorType(error) !== 'INVALID_PRODUCER_ID_MAPPING') throw error
        }
      })
    },
  }
}
