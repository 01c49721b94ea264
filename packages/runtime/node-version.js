// Ends a process on a Node that is too old. JavaScript, so that any Node can read it.
import { readFileSync } from 'node:fs'

const { engines } = JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'))
const needed = Number(engines.node.replace('>=', ''))

if (Number.parseInt(process.versions.node, 10) < needed) {
  process.stderr.write(
    `customer-stream needs Node ${needed} or newer; this is Node ${process.versions.node} (${process.execPath}). ` +
      `Install Node ${needed}, or put it first in PATH.\n`,
  )
  process.exit(2)
}
