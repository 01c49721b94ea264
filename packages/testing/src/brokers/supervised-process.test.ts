import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { expect, it, onTestFinished } from 'vitest'
import { startSupervised } from './supervised-process.ts'

/** Lists living processes with this text in their environment. Empty on a system without /proc. */
const processesWith = (text: string): string[] =>
  readdirSync('/', { encoding: 'utf8' }).includes('proc')
    ? readdirSync('/proc').flatMap((pid) => {
        try {
          const isOurs = /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(text)
          return isOurs ? [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')] : []
        } catch {
          return [] // Ignore the error: the process has ended, or belongs to another user.
        }
      })
    : []

it('no process of a supervisor remains, even if its server has ended immediately', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'supervised-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const SUPERVISED_RUN = randomUUID()
  const start = () =>
    startSupervised({ command: 'true', args: [], env: { SUPERVISED_RUN }, logFile: join(folder, 'log.txt') })
  for (let round = 0; round < 5; round++) {
    const supervised = Array.from({ length: 8 }, start)
    expect(await Promise.all(supervised.map(({ ended }) => ended))).toEqual(Array(8).fill(0))
  }
  await waitUntil(
    'no process is left',
    async () => processesWith(SUPERVISED_RUN),
    (left) => left.length === 0,
    {
      timeoutMs: 5000,
    },
  )
})
