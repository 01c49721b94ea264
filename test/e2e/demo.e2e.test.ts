import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { expect, inject, it, onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }

/** Lists the folders in which demos store the ledger and the logs of the services. */
const foldersOf = (pid: number, temporary: string) => [
  ...readdirSync(join(root, '.data', 'pipelines')).filter((name) => name.startsWith(`${pid}-`)),
  ...readdirSync(temporary),
]

it('a demo that is interrupted during its verdict ends and leaves no files', { timeout: 180_000 }, async () => {
  const temporary = mkdtempSync(join(tmpdir(), 'demo-'))
  const [, ...args] = (scripts.demo ?? '').split(' ')
  const { kafkaBrokers, redisUrl } = inject('brokers')
  const env = {
    ...process.env,
    TMPDIR: temporary,
    NODE_ENV: '',
    KAFKA_BROKERS: kafkaBrokers.join(','),
    REDIS_URL: redisUrl,
  }
  const demo = spawn(process.execPath, [...args, '--keep', '--events', '2000'], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void demo.kill('SIGKILL'))
  const ended = once(demo, 'exit')
  let output = ''
  for (const stream of [demo.stdout, demo.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      output += text
    })
  await waitUntil(
    'the demo judges',
    () => [demo.exitCode, output.slice(-1000)],
    ([code]) => code !== null || /One customer, |answers dropped, /.test(output),
    { timeoutMs: 150_000 },
  )
  // The demo has shown that a newer event is applied.
  expect(output).toMatch(/lastName is "Newer" ✔/)
  expect(foldersOf(Number(demo.pid), temporary)).toHaveLength(1)
  demo.kill('SIGINT')
  expect(await ended).toEqual([130, null])
  expect(output).toContain('demo: interrupted')
  expect(foldersOf(Number(demo.pid), temporary)).toEqual([])
})
