/** `customer-stream COMMAND`: the operator's commands. Each command has its own file. */
const commands = new Map<string | undefined, () => Promise<unknown>>([
  ['erase', () => import('./erase.ts')],
  ['look', () => import('./look.ts')],
  ['verify', () => import('./verify.ts')],
])

const usage = `customer-stream COMMAND [OPTIONS]

  erase     erases a customer, or shows what is left of an erased customer
  look      shows what is in Kafka and in Redis
  verify    compares Redis with Kafka

  customer-stream COMMAND --help    the options of a command
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read from the environment.
`

// Remove the name of the command from the arguments, because the command reads its options from the
// arguments.
const [name] = process.argv.splice(2, 1)
const command = commands.get(name)
if (command) await command()
else {
  const isHelp = name === '--help' || name === '-h'
  const problem = name === undefined || isHelp ? '' : `customer-stream: unknown command ${name}\n\n`
  process[isHelp ? 'stdout' : 'stderr'].write(`${problem}${usage}`)
  process.exitCode = isHelp ? 0 : 2
}
