import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const run = (script: string): Promise<{ code: number; lines: string[] }> =>
  promisify(execFile)(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { createLifecycle } from ${JSON.stringify(new URL('./lifecycle.ts', import.meta.url).href)}
const say = (line) => process.stdout.write(line + '\\n')
const logger = { info() {}, error: ({ event }) => say(event), fatal: ({ event, signal }) => signal && say(event) }
const lifecycle = createLifecycle({ logger, deadlineMs: 300 })
for (const part of ['first', 'second', 'third']) {
  lifecycle.onStop(part, async () => { await new Promise(setImmediate); say(part) })
}
setInterval(() => {}, 1000)
${script}`,
    ],
    // This timeout is shorter than the test's timeout, so that the process ends before the test.
    { timeout: 4000, killSignal: 'SIGKILL' },
  ).then(
    ({ stdout }) => ({ code: 0, lines: stdout.trim().split('\n') }),
    (error: { code: number; stdout: string }) => ({ code: error.code, lines: error.stdout.trim().split('\n') }),
  )

it.each(['SIGTERM', 'SIGINT'])('a process stops its parts in reverse order on %s and exits with 0', async (signal) => {
  expect(await run(`process.kill(process.pid, '${signal}')`)).toEqual({ code: 0, lines: ['third', 'second', 'first'] })
})

it('after several failures a process stops each part once, in reverse order, and exits with 1', async () => {
  expect(
    await run(
      `lifecycle.fail(new Error('a')); lifecycle.fail(new Error('b')); setImmediate(() => lifecycle.fail(new ` +
        `Error('c')))`,
    ),
  ).toEqual({
    code: 1,
    lines: ['third', 'second', 'first'],
  })
})

it('after a wrong setting, a process stops each part, and exits with 2', async () => {
  const { href } = new URL('./settings.ts', import.meta.url)
  const script = `const { SettingsError } = await import(${JSON.stringify(href)})
lifecycle.fail(new SettingsError(['HOST']))`
  expect(await run(script)).toEqual({ code: 2, lines: ['third', 'second', 'first'] })
})

it('if one part fails to stop, the other parts stop, and the process exits with 1', async () => {
  expect(
    await run(`lifecycle.onStop('broken', () => { throw new Error('no') }); process.kill(process.pid, 'SIGTERM')`),
  ).toEqual({
    code: 1,
    lines: ['stop-failed', 'third', 'second', 'first'],
  })
})

it.each([
  ['immediately, as npm does, the process stops in order', 0, { code: 0, lines: ['third', 'second', 'first'] }],
  ['a second later, the process ends immediately with 1', 1000, { code: 1, lines: ['failed'] }],
])('if a signal is repeated %s', async (_title, laterMs, ended) => {
  const script = `let now = 0
performance.now = () => now
lifecycle.onStop('waits for the second signal', () => {
  const arrived = new Promise((resolve) => process.once('SIGTERM', resolve))
  now += ${laterMs}
  process.kill(process.pid, 'SIGTERM')
  return arrived
})
process.kill(process.pid, 'SIGTERM')`
  expect(await run(script)).toEqual(ended)
})

it('a process exits at the deadline if a part does not stop', async () => {
  expect(
    await run(`lifecycle.onStop('hangs', () => new Promise(() => {})); process.kill(process.pid, 'SIGTERM')`),
  ).toMatchObject({
    code: 1,
  })
})
