/**
 * `customer-stream rebuild`: shows the progress of a rebuild, prints its next step, and deletes old
 * positions. The command cannot start a rebuild, because PROJECTION_VERSION is a setting of the
 * projectors.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { attributed, fetchEnds, type PartitionEnds } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { topicNames } from '@customer-stream/schemas'
import { missingPositions, positionsKeys, readProgress } from '@customer-stream/verify'
import { COMMANDS } from './commands.ts'
import { interruption, printNotice } from './interruption.ts'
import { barText } from './layout.ts'
import { printText } from './output.ts'
import { type RebuildReport, rebuildLines } from './print-rebuild.ts'
import { deletable, type ProjectionState, stateOfProjection } from './rebuild-state.ts'
import { createScreen } from './screen.ts'
import { jsonLine } from './terminal-text.ts'
import { type Clients, loadClientSettings, withClients } from './with-clients.ts'

/**
 * The command looks for positions of this number of projections below PROJECTION_VERSION, and of
 * the same number above.
 */
const NEIGHBOURS = 20
/**
 * Time between two readings of the positions. The differences give the rate, and show which
 * projectors run.
 */
const OBSERVE_MS = 3000
const PAUSE_MS = 500
const SILENT_MS = 60_000

const line = {
  name: 'rebuild',
  usage: `customer-stream rebuild [--wait] [--delete-old] [--json]

  Shows the progress of a rebuild, or of the fill of a lost Redis, and estimates
  the time left. Prints the next step, and which old positions may be deleted.
  This command cannot start a rebuild. To start one, raise PROJECTION_VERSION of
  the projectors by one.
  The command examines PROJECTION_VERSION, or the highest number in Redis if
  that is higher. Exit code 0 if this projection is complete, otherwise 1.
  --wait         wait until the projection is complete, with progress
  --delete-old   if the examined projection is complete: delete the positions of
                 projections whose number is lower by at least 2. Stop their
                 projectors first
  --json         print one JSON object
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run rebuild -- [OPTIONS]`,
  options: COMMANDS.rebuild.options,
  read: ({ flags }) => ({
    isWaiting: flags.has('wait'),
    isDeleting: flags.has('delete-old'),
    isJson: flags.has('json'),
    settings: loadClientSettings(),
  }),
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const { signal } = interruption

/** Place of the positions of the raw topic. `configured` is the setting PROJECTION_VERSION. */
interface Place {
  readonly redis: RedisClient
  readonly topic: string
  readonly keyPrefix: string
  readonly configured: number
  readonly ends: readonly PartitionEnds[]
}

type States = ReadonlyMap<number, ProjectionState>

/**
 * Reads the state of each projection that has positions of the topic. Sorted by number of the
 * projection.
 */
const readStates = async ({ redis, topic, keyPrefix, configured, ends }: Place): Promise<States> => {
  const lowest = Math.max(1, configured - NEIGHBOURS)
  const numbers = Array.from({ length: configured + NEIGHBOURS - lowest + 1 }, (_, i) => lowest + i)
  const partitions = ends.map(({ partition }) => partition)
  const read = await Promise.all(
    numbers.map(async (projection) => {
      const progress = await readProgress(redis, { topic, projection, keyPrefix }, partitions)
      const has = progress?.some(({ position }) => position !== undefined) ?? false
      return has ? [[projection, stateOfProjection(projection, ends, progress)] as const] : []
    }),
  )
  return new Map(read.flat())
}

/**
 * Returns the state of the projection with the greatest number. This is PROJECTION_VERSION, unless
 * Redis has positions of a greater number.
 */
const currentOf = (states: States, { configured, ends }: Place): ProjectionState => {
  const projection = Math.max(configured, ...states.keys())
  return states.get(projection) ?? stateOfProjection(projection, ends, undefined)
}

/** Returns the rate between two states, in records per second. */
const rateBetween = (first: ProjectionState, last: ProjectionState, ms: number): number =>
  ms > 0 && first.projection === last.projection ? Math.max(0, first.left - last.left) / (ms / 1000) : 0

/** Reads the positions again and again until the projection is complete, and shows the progress. */
const waitUntilComplete = async (place: Place): Promise<void> => {
  const startedAt = performance.now()
  const first = currentOf(await readStates(place), place)
  let last = first
  let movedAt = startedAt
  const screen = createScreen(process.stderr)
  const perSecond = () => rateBetween(first, last, performance.now() - startedAt)
  const hide = screen.show({
    text: (columns) =>
      barText(
        {
          label: `v${last.projection}`,
          done: last.done,
          total: last.done + last.left,
          perSecond: perSecond(),
          secondsLeft: perSecond() > 0 ? last.left / perSecond() : undefined,
          tail: last.isFilling ? 'from the state topic' : '',
        },
        columns,
      ),
    share: () => last.done / Math.max(1, last.done + last.left),
  })
  try {
    while (!last.isComplete) {
      await unlessAborted(sleep(PAUSE_MS), signal)
      const next = currentOf(await unlessAborted(readStates(place), signal), place)
      const now = performance.now()
      if (next.left !== last.left) movedAt = now
      if (now - movedAt > SILENT_MS) {
        movedAt = now
        screen.print(
          'rebuild: no position has moved for a minute. Check that projectors with ' +
            `PROJECTION_VERSION=${next.projection} run, and read their /readyz`,
        )
      }
      last = next
    }
  } finally {
    hide()
    screen.close()
  }
}

/** Deletes the positions of these projections, if no projector moves them. */
const deleteOld = async (
  { redis, keyPrefix }: Place,
  numbers: readonly number[],
  moving: readonly number[],
): Promise<void> => {
  const running = numbers.filter((projection) => moving.includes(projection))
  if (running.length > 0)
    throw new Error(
      `nothing is deleted: projectors with PROJECTION_VERSION=${running.join(', ')} still run. Stop them first.`,
    )
  // Delete one key per call, because on Redis Cluster the keys are in different slots.
  for (const projection of numbers) for (const key of positionsKeys(redis, projection, keyPrefix)) await redis.del(key)
}

const rebuild = async ({ admin, redis }: Clients, { isWaiting, isDeleting, isJson, settings }: Input) => {
  const { customers: topic } = topicNames(settings.KAFKA_TOPIC_PREFIX)
  const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: configured } = settings
  const ends = await attributed(`count the records of topic ${topic}`, () => fetchEnds(admin, topic))
  const place = { redis, topic, keyPrefix, configured, ends }
  const found = await readStates(place)
  if (found.size === 0 && !isWaiting) throw missingPositions(positionsKeys(redis, configured, keyPrefix))
  if (isWaiting) await waitUntilComplete(place)

  const startedAt = performance.now()
  const before = await readStates(place)
  await unlessAborted(sleep(OBSERVE_MS), signal)
  const after = await readStates(place)
  const [first, current] = [currentOf(before, place), currentOf(after, place)]
  const perSecond = rateBetween(first, current, performance.now() - startedAt)
  const positionsOf = (state: ProjectionState | undefined) => state?.partitions.map(({ position }) => position).join()
  const moving = [...after.keys()].filter((each) => positionsOf(before.get(each)) !== positionsOf(after.get(each)))
  const old = deletable([...after.keys()], current)
  const isRefused = isDeleting && !current.isComplete
  if (isRefused) printNotice(`rebuild: nothing is deleted, because projection ${current.projection} is not complete`)
  if (isDeleting && !isRefused) await deleteOld(place, old, moving)
  const report: RebuildReport = {
    ...current,
    perSecond,
    secondsLeft: perSecond > 0 ? Math.ceil(current.left / perSecond) : null,
    others: [...after.values()]
      .filter(({ projection }) => projection !== current.projection)
      .map(({ projection, left }) => ({ projection, left, isMoving: moving.includes(projection) })),
    deletable: isDeleting ? [] : old,
    deleted: isDeleting && !isRefused ? old : [],
  }
  if (isJson) process.stdout.write(jsonLine(report))
  else printText(rebuildLines(report).join('\n'))
  return current.isComplete && !isRefused ? 0 : 1
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withClients(line.name, input.settings, (clients) => unlessAborted(rebuild(clients, input), signal))
}
