import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { expect, it, onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
// No server listens at this address. A service starts and stops even if Kafka does not answer.
const settings = {
  KAFKA_BROKERS: '127.0.0.1:1',
  REDIS_URL: 'redis://127.0.0.1:1',
  MYKAARMA_AUTH: 'off',
  READER_AUTH: 'off',
  HOST: '127.0.0.1',
  PORT: '0',
  ADMIN_PORT: '0',
}

/** Ends the processes of a failed test. */
const killGroup = (pid: number | undefined) => {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // Ignore the error: all processes have already ended.
  }
}

it.each(['ingress', 'projector', 'reader'])(
  '`npm start` of the %s stops on SIGTERM and leaves no process behind',
  async (service) => {
    const npm = spawn('npm', ['start', '-w', `@customer-stream/${service}`], {
      cwd: root,
      env: { ...process.env, ...settings },
      detached: true,
    })
    onTestFinished(() => killGroup(npm.pid))
    let log = ''
    npm.stdout.on('data', (chunk) => {
      log += chunk
    })
    // npm and the service write to one pipe. The pipe ends when the last of these processes ends.
    const ended = once(npm, 'close')
    await waitUntil(
      'the service listens',
      () => log,
      (text) => text.includes('"event":"listening"'),
    )
    npm.kill('SIGTERM')
    const [code] = await ended
    expect([code, log]).toEqual([0, expect.stringContaining('"event":"stopped"')])
  },
)

it.each(['ingress', 'projector', 'reader'])(
  'on an old Node the error of the %s names the needed version',
  async (service) => {
    const older = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })`
    const child = spawn(process.execPath, ['--import', `data:text/javascript,${older}`, 'start.js'], {
      cwd: `${root}services/${service}`,
    })
    let said = ''
    child.stderr.on('data', (chunk) => {
      said += chunk
    })
    const [code] = await once(child, 'close')
    expect([code, said]).toEqual([
      2,
      expect.stringMatching(/^customer-stream needs Node 24 or newer; this is Node 20.20.2 [^\n]*\n$/),
    ])
  },
)
