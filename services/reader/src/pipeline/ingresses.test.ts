import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { askIngresses } from './ingresses.ts'

const METRICS = `
ingress_answers_total{answer="accepted",service="ingress"} 7
ingress_answers_total{answer="unavailable",service="ingress"} 3
ingress_answers_total{answer="too-many-bodies",service="ingress"} 2
ingress_answers_total{answer="not-found",service="ingress"} 50
ingress_sender_refusals_total{problem="too-large",sender="proven"} 4
ingress_events_at_risk 1
`

/** Starts the admin port of an ingress on every IPv4 address. Returns its port. */
const serve = async (body: string, token?: string): Promise<number> => {
  const server = createServer(({ url, headers }, response) => {
    const isAllowed = token === undefined || headers.authorization === `Bearer ${token}`
    response.writeHead(url !== '/metrics' ? 404 : isAllowed ? 200 : 401).end(body)
  }).listen(0, '0.0.0.0')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

it('without an address no ingress is asked', async () => {
  expect(await askIngresses({ INGRESS_ADMIN_URLS: [] })).toEqual({ ingresses: undefined, problems: [] })
})

it('the counts include the requests of the sender, but not the requests of strangers', async () => {
  const url = `http://127.0.0.1:${await serve(METRICS, 't0ken')}`
  const { ingresses, problems } = await askIngresses({ INGRESS_ADMIN_URLS: [url], ADMIN_TOKEN: 't0ken' })
  expect([ingresses, problems]).toEqual([new Map([[url, { accepted: 7, refused: 9, eventsAtRisk: 1 }]]), []])
})

it('each IPv4 address of a host name is an ingress, and its IPv6 address counts no ingress twice', async () => {
  const port = await serve(METRICS)
  const addresses = ['127.0.0.1', '127.0.0.2', '::1'].map((address) => ({ address, family: address === '::1' ? 6 : 4 }))
  const answers = await askIngresses({ INGRESS_ADMIN_URLS: [`http://ingress:${port}`] }, async () => addresses)
  expect(answers.problems).toEqual([])
  expect([...(answers.ingresses ?? []).keys()]).toEqual([`http://127.0.0.1:${port}`, `http://127.0.0.2:${port}`])
})

it.each([
  ['needs another ADMIN_TOKEN', async () => `http://127.0.0.1:${await serve(METRICS, 't0ken')}`, 'ADMIN_TOKEN'],
  ['is another program', async () => `http://127.0.0.1:${await serve('hello')}`, 'not that of an ingress'],
  ['does not listen', async () => 'http://127.0.0.1:1', 'bad port'],
  ['has an unknown name', async () => 'http://ingress.invalid:9464', 'ENOTFOUND'],
])('if an ingress %s, no counts are known, and a problem names the cause', async (_, urlOf, cause) => {
  const url = await urlOf()
  const good = `http://127.0.0.1:${await serve(METRICS)}`
  const { ingresses, problems } = await askIngresses({ INGRESS_ADMIN_URLS: [good, url] })
  expect(ingresses).toBeUndefined()
  expect(problems).toEqual([expect.stringContaining(`the ingress ${url} gives no counts of requests: `)])
  expect(problems[0]).toContain(cause)
})
