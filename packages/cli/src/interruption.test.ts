import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

it('an interruption before a wait also ends the wait', { timeout: 30_000 }, async () => {
  const module = JSON.stringify(new URL('./interruption.ts', import.meta.url).href)
  const script = `import { once } from 'node:events'
    import { interruption } from ${module}
    setTimeout(() => process.exit(1), 5000)
    const aborted = once(interruption.signal, 'abort')
    process.kill(process.pid, 'SIGINT')
    await aborted
    await interruption.arrived
    console.log('ended')
    process.exit()`
  const args = ['--conditions=customer-stream-source', '--input-type=module', '--eval', script]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  expect(stdout).toBe('ended\n')
})
