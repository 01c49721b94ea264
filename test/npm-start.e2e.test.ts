import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
// A Kafka that does not answer is no obstacle to starting and stopping.
const settings = {
  KAFKA_BROKERS: '127.0.0.1:1',
  REDIS_URL: 'redis://127.0.0.1:1',
  MYKAARMA_AUTH: 'off',
  HOST: '127.0.0.1',
  PORT: '0',
  ADMIN_PORT: '0',
}

const linesUntil = async (output: AsyncIterable<Buffer>, part: string): Promise<string> => {
  let text = ''
  for await (const chunk of output) {
    text += chunk
    if (text.includes(part)) return text
  }
  throw new Error(`ended without ${part}: ${text}`)
}

it.each(['ingress', 'projector'])('`npm start` of the %s stops on SIGTERM and leaves no process behind', async (service) => {
  const npm = spawn('npm', ['start', '-w', `@customer-stream/${service}`], { cwd: root, env: { ...process.env, ...settings } })
  const exited = once(npm, 'exit')
  // The service writes to the same pipe, which ends when the last process that holds it has ended.
  const ended = once(npm, 'close')
  const output = npm.stdout.iterator({ destroyOnReturn: false })
  await linesUntil(output, '"event":"listening"')
  npm.kill('SIGTERM')
  expect(await linesUntil(output, '"event":"stopped"')).toContain('"event":"stopping"')
  npm.stdout.resume()
  expect((await exited)[0]).toBe(0)
  await ended
})

it.each(['ingress', 'projector'])('the %s says on an older Node which one it needs', async (service) => {
  const older = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })`
  const child = spawn(process.execPath, ['--import', `data:text/javascript,${older}`, 'start.js'], { cwd: `${root}services/${service}` })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  const [code] = await once(child, 'close')
  expect([code, said]).toEqual([2, expect.stringMatching(/^customer-stream needs Node 24 or newer; this is Node 20.20.2 [^\n]*\n$/)])
})
