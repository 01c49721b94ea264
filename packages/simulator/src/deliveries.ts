import type { createDelivery, DeliveryResult } from './delivery.ts'
import type { SimulationProgress } from './progress.ts'
import { createSemaphore, type Semaphore } from './semaphore.ts'
import type { SequencedEvent } from './sequence.ts'

/**
 * Maximum number of events that wait for their next attempt. At this number the simulator creates
 * no new events, so that memory stays bounded during an outage.
 */
const MAX_UNFINISHED = 10_000
const LONGEST_REPEAT_DELAY_EVENTS = 200

/** Creates the deliveries that run at the same time, and the repeats that follow later. */
export const createDeliveries = ({
  deliver,
  inFlight,
  concurrency,
  repeats,
  progress,
  stop,
  onPromise,
}: {
  readonly deliver: ReturnType<typeof createDelivery>
  readonly inFlight: Semaphore
  readonly concurrency: number
  /** Share of the events that are sent again after a 2xx. */
  readonly repeats: number
  readonly progress: SimulationProgress
  /** Aborted after the first error. */
  readonly stop: AbortController
  /** Called for each 2xx. */
  readonly onPromise: (
    event: SequencedEvent,
    body: Uint8Array,
    result: Extract<DeliveryResult, { outcome: 'promised' }>,
  ) => void
}) => {
  const unfinished = createSemaphore(concurrency + MAX_UNFINISHED)
  const running = new Set<Promise<void>>()
  const repeatable: { event: SequencedEvent; body: Uint8Array; dueAtMade: number }[] = []
  let failure: unknown

  async function handOver(event: SequencedEvent, body: Uint8Array, isRepeat: boolean): Promise<void> {
    const result = await deliver(body, event.random)
    if (result.outcome !== 'promised' && !isRepeat) progress[result.outcome]++
    if (result.outcome !== 'promised') return
    progress.promises++
    if (!isRepeat) progress.promised++
    onPromise(event, body, result)
    if (!isRepeat && event.random.chance(repeats)) {
      repeatable.push({ event, body, dueAtMade: progress.made + event.random.below(LONGEST_REPEAT_DELAY_EVENTS) })
    }
  }

  /** Resolves with false if the simulation was stopped during the wait. */
  async function start(event: SequencedEvent, body: Uint8Array, isRepeat = false): Promise<boolean> {
    await unfinished.take()
    await inFlight.take()
    if (stop.signal.aborted) {
      inFlight.give()
      return false
    }
    progress[isRepeat ? 'repeats' : 'made']++
    const delivery = handOver(event, body, isRepeat)
      .catch((error: unknown) => {
        failure ??= error
        stop.abort()
      })
      .finally(() => {
        unfinished.give()
        running.delete(delivery)
      })
    running.add(delivery)
    return true
  }

  async function startRepeats(made: number): Promise<void> {
    while (repeatable.length > 0 && repeatable[0]!.dueAtMade <= made && !stop.signal.aborted) {
      const { event, body } = repeatable.shift()!
      await start(event, body, true)
    }
  }

  return {
    /**
     * Starts the delivery of an event, and the repeats that are due. Resolves with false if the
     * simulation was stopped during the wait.
     */
    begin: async (event: SequencedEvent): Promise<boolean> => {
      const isStarted = await start(event, Buffer.from(event.body))
      if (isStarted) await startRepeats(progress.made)
      return isStarted
    },
    /** Sends the remaining repeats, and waits for all deliveries. Rejects with the first error. */
    finish: async (): Promise<void> => {
      while (running.size > 0 || (repeatable.length > 0 && !stop.signal.aborted)) {
        await startRepeats(Number.POSITIVE_INFINITY)
        await Promise.all(running)
      }
      if (failure !== undefined) throw failure
    },
  }
}
