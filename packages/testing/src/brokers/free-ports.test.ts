import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

// Without reservations, 4 processes that each take 200 of 16,384 ports would almost always collide.
const SCRIPT = `
const { freePorts } = await import(process.argv[1])
console.log((await freePorts(200)).join(' '))
process.stdin.once('end', () => process.exit()).resume()
`

it('processes that run at the same time get different ports', async () => {
  const file = fileURLToPath(new URL('free-ports.ts', import.meta.url))
  const processes = Array.from({ length: 4 }, () => {
    const args = ['--conditions=customer-stream-source', '--input-type=module', '--eval', SCRIPT, file]
    return promisify(execFile)(process.execPath, args)
  })
  const printed = processes.map(
    ({ child }) => new Promise<string>((resolve) => void child.stdout?.once('data', (text) => resolve(String(text)))),
  )
  const ports = (await Promise.all(printed)).flatMap((text) => text.trim().split(' '))
  for (const { child } of processes) child.stdin?.end()
  await Promise.all(processes)
  expect(new Set(ports).size).toBe(800)
})
