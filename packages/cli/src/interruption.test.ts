import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const module = JSON.stringify(new URL('./interruption.ts', import.meta.url).href)
const OPTIONS = ['--conditions=customer-stream-source', '--input-type=module', '--eval']
const run = (script: string) => promisify(execFile)(process.execPath, [...OPTIONS, script])

it('a wait ends at once if the command was interrupted before the wait', { timeout: 30_000 }, async () => {
  const script = `import { once } from 'node:events'
    import { interruption } from ${module}
    setTimeout(() => process.exit(1), 5000)
    const aborted = once(interruption.signal, 'abort')
    process.kill(process.pid, 'SIGINT')
    await aborted
    await interruption.arrived
    console.log('ended')
    process.exit()`
  const { stdout } = await run(script)
  expect(stdout).toBe('ended\n')
})

it('notices and errors cannot control the terminal', { timeout: 30_000 }, async () => {
  const { stderr } = await run(`import { reportFailure, printNotice } from ${module}
    printNotice('one \\u001b[2J\\ntwo')
    reportFailure('status', new Error('no \\u009bkey'))
    process.exit()`)
  expect(stderr).toBe('one \\u{1b}[2J\ntwo\nstatus: no \\u{9b}key\n')
})
