import type { Kafka } from 'kafkajs'
import { type DeliveryStore, readPosition } from './delivery-store.ts'
import { placeOf } from './invalid-record.ts'
import { type RunningConsumer, SubscriberError } from './run-consumer.ts'
import { withTimeLimit } from './time-limit.ts'
import { readWatermarks, type Watermarks } from './watermarks.ts'

/** The partitions that the group has assigned to this member, with their positions in the store. */
export interface DeliveryAssignment {
  /** Resolves when all positions are loaded and passed to kafkajs' seek. */
  readonly loading: Promise<void>
  /**
   * Returns true if the record at this offset is the next record. Otherwise makes kafkajs seek to
   * the position. The caller must then not handle the records.
   * @throws SubscriberError if Kafka no longer has the records at the position.
   */
  isNext(partition: number, offset: string): Promise<boolean>
  /** Returns the position in the store. Undefined if the store has no position. */
  position(partition: number): string | undefined
  /** Must be called after the store has stored this position. */
  move(partition: number, next: string): void
  /**
   * Reads the position again after another process has moved the position. Seeks to the new
   * position.
   */
  reload(partition: number): Promise<void>
  /** Stops all seeks. Called when another process may have the partitions. */
  end(): void
}

export interface AssignmentOptions {
  readonly topic: string
  readonly partitions: readonly number[]
  readonly store: DeliveryStore
  readonly storeTimeoutMs: number
  readonly admin: ReturnType<Kafka['admin']>
  readonly running: RunningConsumer
}

/** @throws SubscriberError if Kafka does not have the record at this position. */
const checkPosition = (place: string, position: string, { low, high }: Watermarks): void => {
  if (BigInt(position) < low)
    throw new SubscriberError(
      `${place}: Kafka has deleted the records before offset ${low}, and this subscription has not read them. ` +
        'To continue without these records, remove this position from the store.',
    )
  if (BigInt(position) > high)
    throw new SubscriberError(
      `${place}: the partition ends at offset ${high}. The topic was created again, or Kafka has lost records. ` +
        'Begin with an empty store.',
    )
}

/** Loads the positions of a new assignment. The committed offsets of the group are not used. */
export const createDeliveryAssignment = (options: AssignmentOptions): DeliveryAssignment => {
  const { topic, partitions, store, storeTimeoutMs, admin, running } = options
  const positions = new Map<number, string | undefined>()
  let isEnded = false
  let isLoaded = false

  const readAllWatermarks = () => readWatermarks(admin, topic, running.signal)
  const watermarksIn = (all: ReadonlyMap<number, Watermarks>, partition: number): Watermarks => {
    const found = all.get(partition)
    if (found) return found
    throw new SubscriberError(`Kafka knows no partition ${partition} of ${topic}`)
  }
  const seek = (partition: number, offset: string): void => {
    if (!isEnded) running.consumer.seek({ topic, partition, offset })
  }
  const positionInStore = (partition: number): Promise<string | undefined> =>
    withTimeLimit(
      storeTimeoutMs,
      () => readPosition(store, topic, partition),
      () =>
        new SubscriberError(
          `${topic}/${partition}: store.position took longer than ${storeTimeoutMs} ms (storeTimeoutMs)`,
        ),
    )
  const load = async (stored: ReadonlyMap<number, string | undefined>): Promise<void> => {
    if (stored.size === 0) return
    // Read the watermarks after the positions. In the other order, another process could move its
    // position past the end that was read.
    const all = await readAllWatermarks()
    for (const [partition, position] of stored) {
      const watermarks = watermarksIn(all, partition)
      if (position !== undefined) checkPosition(placeOf({ topic, partition, offset: position }), position, watermarks)
      positions.set(partition, position)
      seek(partition, position ?? String(watermarks.low))
    }
  }
  const loadAll = async (): Promise<void> => {
    const stored = new Map<number, string | undefined>()
    for (const partition of partitions) if (!isEnded) stored.set(partition, await positionInStore(partition))
    if (!isEnded) await load(stored)
    isLoaded = !isEnded
  }
  const loading = loadAll()

  return {
    loading,
    isNext: async (partition, offset) => {
      if (!isLoaded || isEnded) {
        await loading
        return false
      }
      const position = positions.get(partition)
      if (position === undefined || position === offset) return true
      // The first offset may be greater than the position, because control records of transactions
      // leave gaps. If the first offset is less, kafkajs did not fetch from the position.
      const watermarks = watermarksIn(await readAllWatermarks(), partition)
      checkPosition(placeOf({ topic, partition, offset: position }), position, watermarks)
      if (BigInt(offset) > BigInt(position)) return true
      seek(partition, position)
      return false
    },
    position: (partition) => positions.get(partition),
    move: (partition, next) => positions.set(partition, next),
    reload: async (partition) => {
      const refused = positions.get(partition)
      await load(new Map([[partition, await positionInStore(partition)]]))
      if (positions.get(partition) !== refused) return
      const place = `${topic}/${partition}`
      throw new SubscriberError(`${place}: store.commit returned false, although the position is still ${refused}`)
    },
    end: () => {
      isEnded = true
    },
  }
}
