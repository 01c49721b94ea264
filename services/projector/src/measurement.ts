/**
 * Measures the progress of the whole topic. Reports a group member that does not belong to this
 * installation (a foreign member). Loads the positions of partitions that got a leader.
 */
import type { Obstacles } from '@customer-stream/runtime'
import type { Progress } from './progress.ts'
import type { Projection } from './projection.ts'

export interface MeasurementDependencies {
  readonly progress: Pick<Progress, 'measure' | 'foreignMember'>
  readonly projection: { readonly positions: Pick<Projection['positions'], 'loadNewlyLed'> }
  readonly obstacles: Pick<Obstacles, 'report'>
}

/** @returns a function that rejects if Kafka or Redis does not answer. */
export const createMeasurement =
  ({ progress, projection, obstacles }: MeasurementDependencies): (() => Promise<void>) =>
  async () => {
    const watermarks = await progress.measure()
    const { foreignMember } = progress
    obstacles.report(
      'foreign-members',
      foreignMember === undefined ? undefined : { blocked: true, reason: 'group', message: foreignMember },
    )
    await projection.positions.loadNewlyLed(watermarks)
  }
