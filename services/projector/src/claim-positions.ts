/**
 * Stores three facts in Redis, together with the positions: the id of the topic, the id of the
 * cluster, and the settings of the indexes. If the positions belong to another cluster or to other
 * indexes, nothing is applied until a person acts. Readiness and log then name the settings that
 * the person can change (obstacle `positions`).
 */
import type { Logger, Obstacles } from '@customer-stream/runtime'
import type { TopicIdentity } from '@customer-stream/runtime/kafka'
import { type PositionStore, RefusedPositionsError } from './position-store.ts'

export interface ClaimDependencies {
  readonly store: Pick<PositionStore, 'claimPositions'>
  /** Reads the ids of the cluster and of the topic from Kafka. Rejects in an outage. */
  readonly readIdentity: () => Promise<TopicIdentity>
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly logger: Logger
}

export interface ClaimOptions {
  readonly topic: string
  /** True if the positions of another cluster may be deleted. */
  readonly startOver: boolean
}

/**
 * @returns the function that claims the positions. The function resolves with the ids of cluster
 *   and topic, and with the number of deleted positions, which belonged to another topic or
 *   cluster. The function rejects in an outage. If a person must act, the function rejects with
 *   RefusedPositionsError.
 */
export const createClaim =
  (
    { store, readIdentity, obstacles, logger }: ClaimDependencies,
    { topic, startOver }: ClaimOptions,
  ): (() => Promise<{ readonly deleted: number; readonly identity: TopicIdentity }>) =>
  async () => {
    try {
      const identity = await readIdentity()
      const deleted = await store.claimPositions(identity, startOver)
      obstacles.report('positions', undefined)
      if (deleted > 0)
        logger.error(
          { topic, deleted },
          'the positions in Redis belonged to another topic of this name, or to another cluster; these positions ' +
            'were deleted, and the topic is applied from its start',
        )
      return { deleted, identity }
    } catch (error) {
      // An outage neither sets nor removes the obstacle.
      if (error instanceof RefusedPositionsError)
        obstacles.report('positions', { blocked: true, reason: error.reason, message: error.message })
      throw error
    }
  }
