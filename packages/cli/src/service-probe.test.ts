import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished, vi } from 'vitest'
import { askMetrics, askReadiness } from './service-probe.ts'

/** Returns the URL of a port at which no server listens. */
const closedPort = async (): Promise<string> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return `http://127.0.0.1:${port}`
}

/** Starts a server on the loopback address. Returns its URL. */
const serve = async (answer: RequestListener): Promise<string> => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const readiness = (code: number, body: unknown): RequestListener => {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return (_, response) => response.writeHead(code).end(text)
}

it('the service probe returns each failed check of a service that is not ready', async () => {
  const checks = [
    { name: 'rebuild', ready: true, detail: 'Redis is being filled' },
    { name: 'redis', ready: false, detail: 'refuses connections' },
    { name: 'group', ready: false },
  ]
  const url = await serve(readiness(503, { status: 'not-ready', checks }))
  expect(await askReadiness({ kind: 'projector', url })).toEqual({
    kind: 'projector',
    url,
    state: 'not-ready',
    problems: ['redis: refuses connections', 'group'],
    details: ['Redis is being filled'],
  })
})

it('the service probe shows the checks of a service with ADMIN_TOKEN, and says if the token is missing', async () => {
  const checks = [{ name: 'redis', ready: true }]
  const url = await serve(({ headers }, response) =>
    response.end(JSON.stringify({ status: 'ready', ...(headers.authorization === 'Bearer t0ken' && { checks }) })),
  )
  expect(await askReadiness({ kind: 'ingress', url, token: 't0ken' })).toMatchObject({ state: 'ready', problems: [] })
  const { state, problems } = await askReadiness({ kind: 'ingress', url })
  expect([state, problems]).toEqual(['no-answer', [expect.stringContaining('only to a request with its ADMIN_TOKEN')]])
})

it.each([
  [200, 'hello'],
  [404, { type: 'not-found' }],
  [200, { checks: [{ name: 1 }] }],
  [200, 'null'],
])('the status %i with the body %j is not accepted as an answer of an admin port', async (code, body) => {
  const url = await serve(readiness(code, body))
  const { state, problems } = await askReadiness({ kind: 'ingress', url })
  expect([state, problems]).toEqual(['no-answer', [expect.stringContaining(`answers ${code}, but not as`)]])
})

it('an unreachable service and a silent service are reported within 3 s', async () => {
  const refused = await askReadiness({ kind: 'ingress', url: await closedPort() })
  expect(refused.problems[0]).toContain('does not answer: ECONNREFUSED')
  const limit = new AbortController()
  const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(limit.signal)
  // The time limit ends when the service has received the request.
  const url = await serve(() => limit.abort(new DOMException('', 'TimeoutError')))
  const hangs = await askReadiness({ kind: 'ingress', url })
  expect(hangs.problems[0]).toContain('does not answer: no answer within 3 s')
  expect(timeout.mock.calls).toEqual([[3000]])
})

it('the service probe stops reading an endless answer', async () => {
  const url = await serve((_, response) => {
    const write = () => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    }
    response.on('drain', write)
    write()
  })
  const { problems } = await askReadiness({ kind: 'ingress', url })
  expect(problems[0]).toContain('more than 8388608 bytes')
})

it('askMetrics returns undefined if the service does not answer', async () => {
  expect(await askMetrics({ kind: 'ingress', url: await closedPort() })).toBeUndefined()
})
