/**
 * `customer-stream drift`: lists the differences between the sender's events and the vendor's
 * documentation. The projectors find these differences.
 */
import { unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { type Drift, driftKey, readDrift } from '@customer-stream/schemas'
import { missingPositions, positionsKeys } from '@customer-stream/verify'
import { COMMANDS } from './commands.ts'
import { interruption } from './interruption.ts'
import { printText } from './output.ts'
import { driftLines } from './print-drift.ts'
import { jsonLine } from './terminal-text.ts'
import { type Clients, loadClientSettings, withClients } from './with-clients.ts'

const line = {
  name: 'drift',
  usage: `customer-stream drift [--clear] [--json]

  Lists the differences between the events and the vendor's documentation, with
  the times of the first and the last event. No event is refused because of a
  difference.
    unknown-field   the documentation does not have this field
    other-type      the documentation gives the field another type
    new-value       the documented values of the field do not include this value
    large           a text above 1,000 characters or a list above 100 entries
  The projectors compare a sample of the events, in less than 1 % of their time.
  Prints names of fields, never a value.
  --clear    delete the list, for example after an update of the schemas.
             Projectors add differences that occur again
  --json     print one JSON object
  Exit code 0, even if there are differences.
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npx customer-stream drift`,
  options: COMMANDS.drift.options,
  read: ({ flags }) => ({ isClearing: flags.has('clear'), isJson: flags.has('json'), settings: loadClientSettings() }),
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

/**
 * @throws Error if Redis has no positions of this projection and key prefix. Then no projector has
 *   ever used these settings, so one of them is wrong.
 */
const requireProjector = async ({ redis }: Clients, projection: number, keyPrefix: string): Promise<void> => {
  const keys = positionsKeys(redis, projection, keyPrefix)
  const found = await Promise.all(keys.map((key) => redis.hgetall(key)))
  if (found.every((hash) => Object.keys(hash).length === 0)) throw missingPositions(keys)
}

const readDrifts = async ({ redis }: Clients, key: string): Promise<readonly Drift[]> => {
  const fields = Object.entries(await redis.hgetall(key))
  return fields.flatMap(([field, value]) => readDrift(field, value) ?? []).toSorted((a, b) => b.first - a.first)
}

const drift = async (clients: Clients, { isClearing, isJson, settings }: Input): Promise<number> => {
  const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection } = settings
  await requireProjector(clients, projection, keyPrefix)
  const differences = await readDrifts(clients, driftKey(keyPrefix))
  if (isClearing) await clients.redis.del(driftKey(keyPrefix))
  if (isJson) process.stdout.write(jsonLine({ differences, isCleared: isClearing }))
  else printText(driftLines(differences, isClearing).join('\n'))
  return 0
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withClients(line.name, input.settings, (clients) => unlessAborted(drift(clients, input), interruption.signal))
}
