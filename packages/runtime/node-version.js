// Ends the process if Node is too old. This file is JavaScript, because an old Node cannot read
// TypeScript.
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
