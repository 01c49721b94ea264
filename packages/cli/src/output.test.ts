import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const module = JSON.stringify(new URL('./output.ts', import.meta.url).href)
const OPTIONS = ['--conditions=customer-stream-source', '--input-type=module', '--eval']
const start = (script: string) =>
  spawn(process.execPath, [...OPTIONS, `import { drained, endProcess } from ${module}\n${script}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })

it('a program that reads slowly from a pipe gets the whole output', { timeout: 30_000 }, async () => {
  const child = start(`process.stdout.write('x'.repeat(1_000_000))
    process.stderr.write('written')
    await endProcess(3)`)
  await once(child.stderr, 'data')
  let bytes = 0
  child.stdout.on('data', (part: Buffer) => {
    bytes += part.length
  })
  const [code] = await once(child, 'close')
  expect([bytes, code]).toEqual([1_000_000, 3])
})

it('a command that prints in a loop waits for the slow program that reads its output', {
  timeout: 30_000,
}, async () => {
  const child = start(`for (let i = 0; i < 100; i++) {
      if (i === 10) process.stderr.write('many')
      process.stdout.write('x'.repeat(100_000))
      await drained()
    }
    await endProcess(0)`)
  const written = once(child.stderr, 'data').then(() => 'all')
  const waits = new Promise((resolve) => setTimeout(() => resolve('waits'), 1500))
  expect(await Promise.race([written, waits])).toBe('waits')
  child.stdout.resume()
  expect(await once(child, 'close')).toEqual([0, null])
})

it('an interruption ends a command whose output nobody reads', { timeout: 30_000 }, async () => {
  const child = start(`process.stdout.write('x'.repeat(1_000_000))
    process.stderr.write('written')
    await endProcess(0)`)
  await once(child.stderr, 'data')
  child.kill('SIGINT')
  expect(await once(child, 'exit')).toEqual([130, null])
})

it('on a full disk a command prints one line, and ends with exit code 1', { timeout: 30_000 }, async () => {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const words = `"${process.execPath}" --conditions=customer-stream-source "${main}" --help > /dev/full`
  const ended = await new Promise((resolve) => {
    const child = execFile('/bin/sh', ['-c', words], (_error, _stdout, stderr) =>
      resolve({ code: child.exitCode, stderr }),
    )
  })
  expect(ended).toEqual({ code: 1, stderr: expect.stringMatching(/^customer-stream: cannot write the output: .*\n$/) })
})
