/** The code that a service loads at its start. Each part below would cost about 50 ms of CPU time. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Code that reports the loaded parts when its process ends. */
const report = (parts: readonly string[]) => `
  process.on('exit', () => {
    const { cache } = process.getBuiltinModule('node:module').createRequire(process.execPath)
    const files = [...process.moduleLoadList, ...Object.keys(cache)]
    process.stdout.write(${JSON.stringify(parts)}.filter((part) => files.some((file) => file.includes(part))).join())
  })`

it.each([
  ['ingress', 'kafkajs'],
  ['projector', 'kafkajs,ioredis'],
  ['reader', 'kafkajs,ioredis'],
])('the %s loads only the clients that it uses, and not Node’s fetch', { timeout: 30_000 }, (name, clients) => {
  const code = encodeURIComponent(report(['kafkajs', 'ioredis', 'deps/undici']))
  // A service without KAFKA_BROKERS ends when its code is loaded.
  const { stdout, status } = spawnSync(
    process.execPath,
    [`--import=data:text/javascript,${code}`, '--conditions=customer-stream-source', `services/${name}/start.js`],
    { cwd: root, env: { ...process.env, KAFKA_BROKERS: '' }, encoding: 'utf8' },
  )
  expect([status, stdout]).toEqual([2, clients])
})
