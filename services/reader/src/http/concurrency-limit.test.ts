import { expect, it } from 'vitest'
import { createConcurrencyLimit } from './concurrency-limit.ts'

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

/** Starts requests. At most two requests of a group run at the same time. */
const setUp = (maxWaitMs?: number) => {
  const limit = createConcurrencyLimit(new AbortController().signal, maxWaitMs)
  const events: string[] = []
  const request = (name: string, group = 'g') => {
    const gone = new AbortController()
    const started = limit.acquire(group, 2, gone.signal).then(
      () => void events.push(name),
      ({ problem }) => void events.push(`${name}: ${problem}`),
    )
    return { started, end: () => gone.abort() }
  }
  return { events, request }
}

it('requests of a group start in their order, and the end of a request starts the next request', async () => {
  const { events, request } = setUp()
  const [a, , c] = ['a', 'b', 'c', 'd', 'e'].map((name) => request(name))
  await request('of another group', 'other').started
  expect(events).toEqual(['a', 'b', 'of another group'])
  c?.end()
  a?.end()
  await nextTurn()
  expect(events.slice(3)).toEqual(['c: too-many-requests', 'd'])
})

it('a request that has waited too long is refused, and starts no other request', async () => {
  const { events, request } = setUp(1)
  const [a, b] = [request('a'), request('b')]
  await request('late').started
  a.end()
  b.end()
  await request('c').started
  await request('d').started
  expect(events).toEqual(['a', 'b', 'late: too-many-requests', 'c', 'd'])
})

it('at most 1000 requests of a group wait', async () => {
  const { events, request } = setUp()
  const requests = Array.from({ length: 1003 }, (_, i) => request(`${i}`))
  await nextTurn()
  expect(events).toEqual(['0', '1', '1002: too-many-requests'])
  for (const each of requests) each.end()
})
