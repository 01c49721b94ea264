/** Prints the progress of a rebuild, and the next step. */
import type { ProjectionState } from './rebuild-state.ts'
import { counted, duration, grouped } from './terminal-text.ts'

export interface RebuildReport extends ProjectionState {
  readonly perSecond: number
  /** Null if no position moves. */
  readonly secondsLeft: number | null
  /** The other projections that have positions. `isMoving`: projectors of this projection run. */
  readonly others: readonly { readonly projection: number; readonly left: number; readonly isMoving: boolean }[]
  /** Projections whose positions may be deleted. */
  readonly deletable: readonly number[]
  readonly deleted: readonly number[]
}

const MOST_PARTITIONS = 8

const progressLine = ({ projection, left, done, isFilling, isComplete, ...report }: RebuildReport): string => {
  if (isComplete) return `Projection ${projection} is complete: all records of the raw topic are applied.`
  const total = done + left
  const { perSecond, secondsLeft } = report
  const pace =
    secondsLeft === null
      ? 'no position moves'
      : `${grouped(Math.round(perSecond))}/s, about ${duration(secondsLeft * 1000)} left`
  const from = isFilling ? ', from the state topic and the raw topic' : ''
  return (
    `Projection ${projection} is not complete: ${Math.floor((100 * done) / Math.max(1, total))} % of ` +
    `${counted(total, 'record')}${from}, ${pace}.`
  )
}

const partitionLines = ({ partitions }: RebuildReport): string[] => {
  const open = partitions.filter(({ isComplete }) => !isComplete).sort((a, b) => b.left - a.left)
  return [
    ...open
      .slice(0, MOST_PARTITIONS)
      .map(
        ({ partition, position, end, left, isFilling }) =>
          `  partition ${partition}: ${counted(left, 'record')} left (${position ?? 'no position'} of ${end})` +
          (isFilling ? ', being filled' : ''),
      ),
    ...(open.length > MOST_PARTITIONS ? [`  and ${open.length - MOST_PARTITIONS} more (--json has all)`] : []),
  ]
}

const nextSteps = ({ projection, isComplete, others, secondsLeft }: RebuildReport): string[] => {
  const previous = others.filter((other) => other.projection < projection)
  if (!isComplete)
    return [
      ...(previous.length > 0
        ? ['Keep the old projectors running until the rebuild is complete. Until then they bring new events to Redis.']
        : []),
      ...(secondsLeft === null
        ? [`Check that projectors with PROJECTION_VERSION=${projection} run, and read their /readyz.`]
        : []),
    ]
  const running = previous.filter(({ isMoving }) => isMoving).map((other) => other.projection)
  if (running.length > 0)
    return [
      `Projectors with PROJECTION_VERSION=${running.join(', ')} still run. If PROJECTION_VERSION=${projection} ` +
        'customer-stream verify finds no problem, stop them.',
    ]
  return [
    `To rebuild Redis: start a second set of projectors with PROJECTION_VERSION=${projection + 1} and their own`,
    `CONSUMER_GROUP_ID, then run PROJECTION_VERSION=${projection + 1} customer-stream rebuild --wait.`,
  ]
}

const oldLines = ({ projection, isComplete, others, deletable, deleted }: RebuildReport): string[] => [
  ...others
    .filter((other) => !deleted.includes(other.projection))
    .map(
      (other) =>
        `Positions of projection ${other.projection}: ` +
        (deletable.includes(other.projection)
          ? 'may be deleted (customer-stream rebuild --delete-old), if its projectors are stopped.'
          : other.projection === projection - 1
            ? 'keep them. They say which records are already in quarantine.'
            : isComplete
              ? 'keep them.'
              : `keep them until projection ${projection} is complete.`),
    ),
  ...deleted.map((each) => `Positions of projection ${each}: deleted.`),
]

export const rebuildLines = (report: RebuildReport): string[] => [
  progressLine(report),
  ...partitionLines(report),
  ...nextSteps(report),
  ...oldLines(report),
]
