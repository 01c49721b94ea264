import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { whyNoEngine } from './why-no-engine.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'engine-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const listen = async (path: string) => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return server
}

it('a missing socket means that there is no container engine', async () => {
  expect(await whyNoEngine({}, [join(folder, 'docker.sock')])).toBe('no container engine answers')
})

it('a socket that belongs to no container engine is reported', async () => {
  const path = join(folder, 'docker.sock')
  const server = await listen(path)
  expect(await whyNoEngine({}, [join(folder, 'none.sock'), path])).toContain(`${path} accepts connections`)
  server.close()
})

it('a socket that this user may not open is reported with the remedy', async () => {
  const path = join(folder, 'docker.sock')
  const server = await listen(path)
  chmodSync(path, 0)
  // Root may open every socket.
  const isRoot = process.geteuid?.() === 0
  if (isRoot) process.seteuid?.(65_534)
  const why = await whyNoEngine({}, [path]).finally(() => isRoot && process.seteuid?.(0))
  expect(why).toContain(`may not use ${path} (EACCES)`)
  expect(why).toContain('usermod -aG docker')
  server.close()
})

it('an address in DOCKER_HOST that does not answer is reported', async () => {
  const path = join(folder, 'mine.sock')
  expect(await whyNoEngine({ DOCKER_HOST: `unix://${path}` })).toBe(
    `no container engine answers at DOCKER_HOST=unix://${path} (ENOENT)`,
  )
  expect(await whyNoEngine({ DOCKER_HOST: 'tcp://127.0.0.1:1' })).toContain(
    'nothing answers at DOCKER_HOST=tcp://127.0.0.1:1',
  )
  expect(await whyNoEngine({ DOCKER_HOST: 'not an address' })).toBe('DOCKER_HOST=not an address is not a URL')
})
