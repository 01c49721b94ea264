import { fastify } from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import { adminPortOf, openPort } from './open-port.ts'
import { SettingsError } from './settings.ts'

const open = (settings: Parameters<typeof adminPortOf>[0]): Promise<string> => {
  const app = fastify()
  onTestFinished(() => app.close())
  return openPort(app, adminPortOf(settings))
}
const errorOf = (settings: Parameters<typeof adminPortOf>[0]): Promise<Error> =>
  open(settings).then(
    () => new Error('the port is open'),
    (error: Error) => error,
  )

it('ADMIN_HOST is the address of the admin port, and HOST is the default', async () => {
  expect(await open({ HOST: '127.0.0.2', ADMIN_HOST: '127.0.0.3', ADMIN_PORT: 0 })).toMatch('http://127.0.0.3:')
  expect(await open({ HOST: '127.0.0.2', ADMIN_PORT: 0 })).toMatch('http://127.0.0.2:')
})

// 192.0.2.1 is an address for documentation, so no machine has it.
it.each([
  ['ADMIN_HOST', { HOST: '127.0.0.1', ADMIN_HOST: '192.0.2.1', ADMIN_PORT: 0 }],
  ['HOST', { HOST: '192.0.2.1', ADMIN_PORT: 0 }],
])('an address in %s that this machine does not have is a wrong setting', async (name, settings) => {
  const error = await errorOf(settings)
  expect(error).toBeInstanceOf(SettingsError)
  expect(error.message).toContain(`${name}: "192.0.2.1" is not an address of this machine`)
})

it.each([
  ['ENOTFOUND', true],
  ['EAI_AGAIN', false],
])('a host name is a wrong setting if its lookup fails with %s: %s', async (code, isWrong) => {
  const listen = () => Promise.reject(Object.assign(new Error(`getaddrinfo ${code} x`), { code }))
  const opened = openPort({ listen } as never, adminPortOf({ HOST: 'x', ADMIN_PORT: 1 }))
  const error = await opened.catch((failure: Error) => failure)
  expect([error instanceof SettingsError, (error as Error).message.includes('HOST')]).toEqual([isWrong, true])
})

it('a port that another program uses is not a wrong setting, but its error names the settings', async () => {
  const port = Number(new URL(await open({ HOST: '127.0.0.1', ADMIN_PORT: 0 })).port)
  const error = await errorOf({ HOST: '127.0.0.1', ADMIN_PORT: port })
  expect(error).not.toBeInstanceOf(SettingsError)
  expect(error.message).toMatch(`ADMIN_PORT=${port} on HOST="127.0.0.1" cannot be opened: listen EADDRINUSE`)
})
