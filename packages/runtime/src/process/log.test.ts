import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync } from 'node:fs'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createLogger, createThrottledLog } from './log.ts'

const capture = () => {
  const lines: string[] = []
  return { lines, logger: createLogger('test', 'info', { write: (line) => lines.push(line) }) }
}

it('the log leaves out the arguments of a failed Redis command', () => {
  const { lines, logger } = capture()
  // This error has the fields of an ioredis error.
  const error = Object.assign(new Error('OOM command not allowed'), {
    code: 'OOM',
    command: { name: 'evalsha', args: ['Jane Doe'] },
  })
  logger.warn({ err: error }, 'waiting for Redis')
  expect(lines.join()).not.toContain('Jane Doe')
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    msg: 'waiting for Redis',
    err: { type: 'Error', message: 'OOM command not allowed', code: 'OOM' },
  })
})

it('the log contains the causes of an error', () => {
  const { lines, logger } = capture()
  logger.warn({ err: new Error('not stored', { cause: new Error('no leader') }) })
  expect(JSON.parse(lines[0] ?? '').err.message).toBe('not stored: no leader')
})

it.each([
  ['killed by timeout', { type: 'string', message: 'killed by timeout' }],
  [null, { type: 'object', message: 'null' }],
  [{ name: 'Jane Doe' }, { type: 'object', message: '[Object]' }],
])('the log accepts the thrown value %j, which is not an error', (thrown, err) => {
  const { lines, logger } = capture()
  logger.error({ err: thrown }, 'stopping')
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: 'stopping', err })
})

it('each log line has the level’s name, the version and a text message', () => {
  const { lines, logger } = capture()
  logger.warn({ event: 'x' }, 'text')
  logger.error(new Error('broken'))
  logger.error({ err: new Error('inner') }, { code: 7 } as unknown as string)
  logger.info({ msg: { nested: true } })
  logger.info({ a: 1 })
  const parsed = lines.map((line) => JSON.parse(line))
  expect(parsed.map(({ level, msg }) => [level, msg])).toEqual([
    ['warn', 'text'],
    ['error', 'broken'],
    ['error', '{ code: 7 }'],
    ['info', '{ nested: true }'],
    ['info', ''],
  ])
  expect(parsed[0]).toMatchObject({ service: 'test', event: 'x', version: expect.stringMatching(/^\d+\.\d+\.\d+/) })
  expect(parsed[1].err.message).toBe('broken')
  for (const line of lines) expect(line.split('"msg":')).toHaveLength(2)
})

it('the length of a log line is limited', () => {
  const { lines, logger } = capture()
  const long = 'x'.repeat(1_000_000)
  logger.error({ err: new Error(long, { cause: new Error(long) }), detail: long }, 'trouble')
  expect(lines[0]?.length).toBeLessThan(8000)
})

it('a throttled log writes one line per interval, and counts the lines that it leaves out', () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const logged: number[] = []
  const log = createThrottledLog(({ heldBack }) => logged.push(heldBack))
  for (let i = 0; i < 3; i++) log({})
  vi.advanceTimersByTime(10_000)
  log({})
  expect(logged).toEqual([0, 2])
})

describe('a process whose log cannot be written', () => {
  /**
   * Starts a process that logs more than a pipe can hold, answers a message, and stops on SIGTERM.
   */
  const run = async (standardOutput: number | 'pipe') => {
    const load = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
    const script = `import { createLogger } from ${load('./log.ts')}
import { createLifecycle } from ${load('./lifecycle.ts')}
const logger = createLogger('test', 'info')
createLifecycle({ logger, deadlineMs: 1000 })
for (let line = 0; line < 3000; line++) logger.warn('x'.repeat(1000))
logger.fatal('trouble')
process.stdin.on('data', () => process.stderr.write('here '))`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['pipe', standardOutput, 'pipe'],
      // This timeout is shorter than the test's timeout, so that the process ends before the test.
      timeout: 4000,
      killSignal: 'SIGKILL',
    })
    let said = ''
    child.stderr?.on('data', (data) => {
      said += data
      child.kill('SIGTERM')
    })
    child.stdin?.write('?')
    const [code] = await once(child, 'exit')
    return { code, said }
  }

  // Only Linux has a file that is always full (/dev/full).
  it.skipIf(!existsSync('/dev/full'))(
    'a process whose log is on a full disk continues, and stops with exit code 0',
    async () => {
      expect(await run(openSync('/dev/full', 'w'))).toEqual({ code: 0, said: 'here ' })
    },
  )

  it('a process whose log no one reads continues, and stops with exit code 0', async () => {
    expect(await run('pipe')).toEqual({ code: 0, said: 'here ' })
  })
})
