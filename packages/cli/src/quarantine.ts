/** `customer-stream quarantine list | show | redrive | drop`: each has its own file. */
import { nearestName } from '@customer-stream/runtime/command-line'

const commands = new Map([
  ['list', () => import('./quarantine/list.ts')],
  ['show', () => import('./quarantine/show.ts')],
  ['redrive', () => import('./quarantine/redrive.ts')],
  ['drop', () => import('./quarantine/drop.ts')],
])

const usage = `customer-stream quarantine COMMAND [OPTIONS]

  list      lists the records in quarantine (the dead-letter topic)
  show      shows one record: its headers, the problem, and the bytes
  redrive   sends records through the rules of the services again
  drop      marks records as handled, without sending them

  customer-stream quarantine COMMAND --help    the options of a command
  redrive and drop change nothing without --execute.
  In this repository: npx customer-stream quarantine COMMAND [OPTIONS]
`

// Remove the name of the command from the arguments, because the command reads its options from
// there.
const [name = ''] = process.argv.splice(2, 1)
const command = commands.get(name)
if (command) await command()
else if (name === '--help' || name === '-h') process.stdout.write(usage)
else {
  const nearest = nearestName(name, [...commands.keys()])
  const problem =
    name === '' ? 'the COMMAND is missing' : `unknown command ${name}${nearest ? `; the nearest is ${nearest}` : ''}`
  process.stderr.write(`quarantine: ${problem}\n\n${usage}`)
  process.exitCode = 2
}
