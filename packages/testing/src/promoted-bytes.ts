import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const oldGenerationBytes = (): number =>
  getHeapSpaceStatistics()
    .filter(({ space_name }) => space_name === 'old_space' || space_name === 'large_object_space')
    .reduce((sum, { space_used_size }) => sum + space_used_size, 0)

/**
 * Runs `step` several times, and collects only the young generation after each step.
 * @returns the bytes that these collections have moved to the old generation. A test expects few
 *   bytes, because objects of one step must not live longer than the step.
 */
export const promotedBytes = async (steps: number, step: (i: number) => Promise<unknown>): Promise<number> => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as (options?: { readonly type: 'minor' }) => void
  collect()
  const before = oldGenerationBytes()
  for (let i = 0; i < steps; i++) {
    await step(i)
    collect({ type: 'minor' })
  }
  return oldGenerationBytes() - before
}
