/** `customer-stream COMMAND`: the operator's commands. Each command has its own file. */
import { COMMANDS, type CommandName, isCommand, unknownCommand } from './commands.ts'

/** Runs a command with the words after its name. Resolves to the exit code. */
type Run = (args: readonly string[]) => Promise<number>

/** Loads each command only when it is used, because the Kafka and Redis clients load slowly. */
const commands: Readonly<Record<CommandName, () => Promise<{ readonly run: Run }>>> = {
  completion: () => import('./completion.ts'),
  config: () => import('./config.ts'),
  customer: () => import('./customer.ts'),
  drift: () => import('./drift.ts'),
  erase: () => import('./erase.ts'),
  quarantine: () => import('./quarantine.ts'),
  rebuild: () => import('./rebuild.ts'),
  status: () => import('./status.ts'),
  topics: () => import('./topics.ts'),
  verify: () => import('./verify.ts'),
}

const usage = `customer-stream COMMAND [OPTIONS]

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(12)}${summary}`)
  .join('\n')}

  customer-stream COMMAND --help    the options of a command
  customer-stream --version         version and commit

  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment. Exit codes: 0 done, 1 a problem was found or the command
  failed, 2 wrong usage, 130 interrupted.
`

// A program that reads the output, such as `head`, may close the pipe early. Then exit with the
// code of a process that SIGPIPE has ended. Any other error, such as a full disk, gives exit code
// 1.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(141)
    process.stderr.write(`customer-stream: cannot write the output: ${error.message}\n`)
    process.exit(1)
  })

const [given = '', ...args] = process.argv.slice(2)
if (isCommand(given)) {
  const [{ run }, { endProcess }] = await Promise.all([commands[given](), import('./output.ts')])
  // Ends the process, because a client may still wait for a server that does not answer.
  await endProcess(await run(args))
} else if (given === '--help' || given === '-h') process.stdout.write(usage)
else if (given === '--version') process.stdout.write(`${(await import('./version.ts')).versionText()}\n`)
else {
  process.stderr.write(`${usage}${given === '' ? '' : `\ncustomer-stream: ${unknownCommand(given)}\n`}`)
  process.exitCode = 2
}
