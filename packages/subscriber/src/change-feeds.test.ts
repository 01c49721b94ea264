import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createChangeFeeds, type TableChange } from './change-feeds.ts'
import { stateOf } from './fixtures/states.ts'

const change = (customerUuid: string, from: number | null, to: number | null): TableChange => ({
  customerUuid,
  previous: from === null ? null : stateOf(customerUuid, from),
  state: to === null ? null : stateOf(customerUuid, to),
})
const read = async (changes: AsyncIterable<TableChange>) => {
  const seen = []
  for await (const one of changes) seen.push(one)
  return seen
}

it('a waiting read of a feed gets the next change', async () => {
  const feeds = createChangeFeeds()
  const next = feeds.open().next()
  feeds.publish(change('a', null, 1))
  expect(await next).toEqual({ done: false, value: change('a', null, 1) })
})

it('if several reads of one feed wait, each read gets a change or the end of the feed', async () => {
  const feeds = createChangeFeeds()
  const changes = feeds.open()
  const waiting = Promise.all([changes.next(), changes.next(), changes.next()])
  feeds.publish(change('a', null, 1))
  feeds.publish(change('b', null, 1))
  feeds.end()
  expect((await waiting).map(({ value }) => value?.customerUuid)).toEqual(['a', 'b', undefined])
})

it('a feed that is read slowly has one change per customer: from the last read state to the newest', async () => {
  const feeds = createChangeFeeds()
  const slow = feeds.open()
  feeds.publish(change('a', 1, 2))
  feeds.publish(change('b', null, 1))
  feeds.publish(change('a', 2, 3))
  feeds.end()
  expect(await read(slow)).toEqual([change('b', null, 1), change('a', 1, 3)])
})

it('a feed has no change for a customer that was added and removed between two reads', async () => {
  const feeds = createChangeFeeds()
  const slow = feeds.open()
  feeds.publish(change('a', null, 1))
  feeds.publish(change('a', 1, null))
  feeds.end()
  expect(await read(slow)).toEqual([])
})

it('if change feeds end with an error, waiting and later reads fail', async () => {
  const feeds = createChangeFeeds()
  const waiting = feeds.open().next()
  const late = feeds.open()
  feeds.end(new Error('gone'))
  await expect(waiting).rejects.toThrow('gone')
  await expect(late.next()).rejects.toThrow('gone')
  await expect(feeds.open().next()).rejects.toThrow('gone')
})

it('after the program ends a feed of changes, a waiting read of this feed ends without a change', async () => {
  const feeds = createChangeFeeds()
  const changes = feeds.open()
  const waiting = changes.next()
  await changes.return?.()
  feeds.publish(change('a', null, 1))
  expect(await waiting).toEqual({ done: true, value: undefined })
  expect(await changes.next()).toEqual({ done: true, value: undefined })
})

it('the changes of every feed lead to the same state, however slowly the feed is read', async () => {
  const step = fc.record({ customer: fc.constantFrom('a', 'b', 'c'), erased: fc.boolean(), isRead: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const feeds = createChangeFeeds()
      const changes = feeds.open()
      const table = new Map<string, number>()
      const copy = new Map<string, number>()
      const apply = ({ customerUuid, previous, state }: TableChange) => {
        expect(previous?.version.timestamp).toBe(copy.get(customerUuid))
        if (state) copy.set(customerUuid, state.version.timestamp)
        else copy.delete(customerUuid)
      }
      for (const [i, { customer, erased, isRead }] of steps.entries()) {
        const held = table.get(customer) ?? null
        if (held === null && erased) continue
        if (erased) table.delete(customer)
        else table.set(customer, i + 1)
        feeds.publish(change(customer, held, erased ? null : i + 1))
        const isPending = JSON.stringify([...table].toSorted()) !== JSON.stringify([...copy].toSorted())
        if (isRead && isPending) apply((await changes.next()).value as TableChange)
      }
      feeds.end()
      for (const one of await read(changes)) apply(one)
      expect(copy).toEqual(table)
    }),
  )
})
