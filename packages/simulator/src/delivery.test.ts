import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { LedgerEntry } from './ledger.ts'
import { sign } from './signature.ts'
import { createSimulation, type SimulationOptions } from './simulate.ts'

interface Received {
  readonly body: string
  readonly headers: IncomingHttpHeaders
  readonly url: string
}
/** Returns the status of the answer, or undefined for no answer. */
type Answer = (nth: number, request: Received) => number | undefined

let server: Server | undefined
afterEach(() => server?.closeAllConnections())
afterEach(() => server?.close())

async function listen(answer: Answer): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = []
  server = createServer(async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request)).toString()
    const status = answer(received.push({ body, headers: request.headers, url: request.url! }), received.at(-1)!)
    if (status !== undefined) response.writeHead(status).end('{"status":"whatever"}')
  })
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks/mykaarma?x=1`, received }
}

function simulation(url: string, options: Partial<SimulationOptions> = {}) {
  return createSimulation({
    url,
    secret: 's',
    token: 'myKaarma_t',
    events: 1,
    customers: 5,
    seed: 7,
    retryBaseMs: 1,
    ...options,
  })
}

test('a delivery has the vendor’s headers, and a signature of its body', async () => {
  const { url, received } = await listen(() => 202)
  const progress = await simulation(url, { events: 20 }).run()
  expect(progress).toMatchObject({ made: 20, attempts: 20, promised: 20, promises: 20, lost: 0, statuses: { 202: 20 } })
  for (const { body, headers, url: path } of received) {
    expect(path).toBe('/webhooks/mykaarma?x=1')
    expect(headers).toMatchObject({
      'content-type': 'text/plain',
      'mykaarma-signature-token': sign(body, 's'),
      'x-authorization-token': 'myKaarma_t',
    })
  }
})

test('the same bytes are sent again until the answer is 2xx', async () => {
  const { url, received } = await listen((nth) => [503, 401, 500, 204][nth - 1])
  const promises: LedgerEntry[] = []
  const progress = await simulation(url, { onPromise: (entry) => promises.push(entry) }).run()
  expect(progress).toMatchObject({
    attempts: 4,
    promised: 1,
    refused: 3,
    lost: 0,
    statuses: { 503: 1, 401: 1, 500: 1, 204: 1 },
  })
  expect(new Set(received.map(({ body }) => body)).size).toBe(1)
  expect(promises).toMatchObject([{ attempt: 4, status: 204 }])
})

test('an event counts as lost after six failed attempts', async () => {
  const { url, received } = await listen(() => 503)
  const progress = await simulation(url, { events: 3, concurrency: 1 }).run()
  expect(progress).toMatchObject({ made: 3, attempts: 18, promised: 0, refused: 18, lost: 3 })
  expect(received).toHaveLength(18)
})

test('an answer that does not come in time is a failure', async () => {
  const { url } = await listen((nth) => (nth === 1 ? undefined : 202))
  const progress = await simulation(url, { timeoutMs: 250 }).run()
  expect(progress).toMatchObject({ attempts: 2, timedOut: 1, promised: 1 })
})

test('a connection that ends without an answer is not counted as a failed connection', async () => {
  const { url } = await listen(() => undefined)
  server!.on('request', ({ socket }) => setTimeout(() => socket.destroy(), 10))
  expect(await simulation(url).run()).toMatchObject({ attempts: 6, cutOff: 6, failedConnections: 0, lost: 1 })
})

test('a refused connection counts as a failed connection', async () => {
  const { url } = await listen(() => 202)
  await new Promise((resolve) => server!.close(resolve))
  expect(await simulation(url).run()).toMatchObject({ attempts: 6, failedConnections: 6, lost: 1 })
})

test('a request with a dropped answer reaches the server completely, and is repeated', async () => {
  const { url, received } = await listen(() => 202)
  const progress = await simulation(url, { events: 200, drops: 0.3 }).run()
  expect(progress.dropped).toBeGreaterThan(30)
  expect(received).toHaveLength(progress.attempts)
  expect(progress).toMatchObject({
    promised: 200 - progress.lost,
    attempts: progress.dropped + progress.promises,
    refused: 0,
    failedConnections: 0,
  })
  for (const { body, headers } of received) expect(headers['mykaarma-signature-token']).toBe(sign(body, 's'))
  expect(new Set(received.map(({ body }) => body)).size).toBe(200)
})

test('an event is lost if all six connections drop, even if the server received the event', async () => {
  const { url, received } = await listen(() => 202)
  expect(await simulation(url, { drops: 1 }).run()).toMatchObject({ dropped: 6, promised: 0, lost: 1 })
  expect(received).toHaveLength(6)
})

test('a repeat sends identical bytes, and its 2xx is another entry in the ledger', async () => {
  const { url, received } = await listen(() => 202)
  const progress = await simulation(url, { events: 50, repeats: 1 }).run()
  expect(progress).toMatchObject({ made: 50, promised: 50, repeats: 50, promises: 100 })
  const times = Map.groupBy(received, ({ body }) => body)
  expect([...times.values()].map((copies) => copies.length)).toEqual(Array(50).fill(2))
})

test('the ledger has every acknowledged event when the run resolves', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'simulation-'))
  try {
    const { url, received } = await listen((nth) => (nth % 3 === 0 ? 503 : 202))
    const ledgerPath = join(folder, 'ledger.jsonl')
    const promises: LedgerEntry[] = []
    const options = {
      events: 100,
      other: 0.2,
      repeats: 0.2,
      ledgerPath,
      onPromise: (entry: LedgerEntry) => void promises.push(entry),
    }
    const progress = await simulation(url, options).run()
    const lines = readFileSync(ledgerPath, 'utf8').trimEnd().split('\n')
    const entries = lines.map((line) => JSON.parse(line) as LedgerEntry)
    expect(entries).toEqual(promises)
    expect(entries).toHaveLength(progress.promises)
    const bodies = new Map(
      received.map(({ body }) => [createHash('sha256').update(body).digest('hex'), JSON.parse(body)]),
    )
    for (const { id, timestamp, type, customerUuid, sha256 } of entries) {
      expect(bodies.get(sha256)).toMatchObject({ id, timestamp })
      expect(customerUuid === null).toBe(type !== 'customers')
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a run fails if its ledger fails', async () => {
  const { url } = await listen(() => 202)
  const onPromise = () => {
    throw new Error('no space left')
  }
  await expect(simulation(url, { events: 50, onPromise }).run()).rejects.toThrow('no space left')
})

test('after a stop, the simulator sends no event, and the ledger gets the answers to requests in flight', async () => {
  const stop = new AbortController()
  const { url } = await listen((nth) => {
    if (nth === 3) stop.abort()
    return nth === 1 ? 503 : 202
  })
  const progress = await simulation(url, {
    events: 1e6,
    concurrency: 1,
    retryBaseMs: 60_000,
    signal: stop.signal,
  }).run()
  expect(progress).toMatchObject({ made: 3, promised: 2, refused: 1, lost: 0 })
})

test('with a given rate, the simulator pauses between events', async () => {
  const { url } = await listen(() => 202)
  const startedAt = performance.now()
  await simulation(url, { events: 11, ratePerSecond: 200 }).run()
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(48)
})

test('the number of requests in flight reaches the concurrency and never exceeds it, even with retries', async () => {
  let open = 0
  let most = 0
  const early: (() => void)[] = []
  server = createServer((request, response) => {
    most = Math.max(most, ++open)
    const answer = () => response.writeHead(open-- % 2 ? 202 : 503).end()
    // The first three answers wait for the fourth request.
    request
      .resume()
      .on('end', () => (most < 4 ? early.push(answer) : [answer, ...early.splice(0)].map((each) => each())))
  })
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const progress = await simulation(url, { events: 200, concurrency: 4 }).run()
  expect(most).toBe(4)
  expect(progress.refused).toBeGreaterThan(0)
})

test('the report names the error code of a refused connection', async () => {
  const { url } = await listen(() => 202)
  server!.close()
  const reasons: string[] = []
  const progress = await simulation(url, { onFirstFailedConnection: (reason) => reasons.push(reason) }).run()
  expect(progress).toMatchObject({ lost: 1, failedConnections: 6, connectionErrors: { ECONNREFUSED: 6 } })
  expect(reasons).toEqual(['ECONNREFUSED'])
})
