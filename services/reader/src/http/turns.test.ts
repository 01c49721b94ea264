import { expect, it } from 'vitest'
import { createTurns } from './turns.ts'

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

/** Starts requests of a group, which has two turns. */
const setUp = (maxWaitMs?: number) => {
  const turns = createTurns(maxWaitMs)
  const events: string[] = []
  const request = (name: string, group = 'g') => {
    const gone = new AbortController()
    const taken = turns.take(group, 2, gone.signal).then(
      () => void events.push(name),
      ({ problem }) => void events.push(`${name}: ${problem}`),
    )
    return { taken, end: () => gone.abort() }
  }
  return { events, request }
}

it('requests wait for a turn of their group in their order, and a request that is gone frees its turn', async () => {
  const { events, request } = setUp()
  const [a, , c] = ['a', 'b', 'c', 'd', 'e'].map((name) => request(name))
  await request('of another group', 'other').taken
  expect(events).toEqual(['a', 'b', 'of another group'])
  c?.end()
  a?.end()
  await nextTurn()
  expect(events.slice(3)).toEqual(['c: too-many-requests', 'd'])
})

it('a request that has waited too long is refused, and its place goes to nobody', async () => {
  const { events, request } = setUp(1)
  const [a, b] = [request('a'), request('b')]
  await request('late').taken
  a.end()
  b.end()
  await request('c').taken
  await request('d').taken
  expect(events).toEqual(['a', 'b', 'late: too-many-requests', 'c', 'd'])
})

it('at most 1000 requests of a group wait', async () => {
  const { events, request } = setUp()
  const requests = Array.from({ length: 1003 }, (_, i) => request(`${i}`))
  await nextTurn()
  expect(events).toEqual(['0', '1', '1002: too-many-requests'])
  for (const each of requests) each.end()
})
