import { promotedBytes } from '@customer-stream/testing/promoted-bytes'
import { expect, it } from 'vitest'
import { type Linked, LinkedSet } from './linked-set.ts'

interface Item extends Linked<Item> {
  readonly name: string
}
const itemsOf = (...names: string[]) => names.map((name): Item => ({ name }))
const setOf = (...items: Item[]) => {
  const set = new LinkedSet<Item>()
  for (const item of items) set.add(item)
  return set
}
const namesIn = (set: LinkedSet<Item>) => [...set].map(({ name }) => name)

it('a linked set has its members in the order of their insertion', () => {
  const [a, b, c] = itemsOf('a', 'b', 'c') as [Item, Item, Item]
  const set = setOf(a, b, c)
  expect([set.size, namesIn(set)]).toEqual([3, ['a', 'b', 'c']])
  set.delete(a)
  set.add(a)
  expect([set.size, namesIn(set)]).toEqual([3, ['b', 'c', 'a']])
})

it.each([['a'], ['b'], ['c'], ['a', 'c'], ['c', 'b'], ['b', 'a', 'c']])(
  'after members are deleted, a linked set has only the remaining members: %s %s %s',
  (...removed) => {
    const items = itemsOf('a', 'b', 'c')
    const set = setOf(...items)
    for (const name of removed) {
      const item = items.find((each) => each.name === name) as Item
      expect([set.has(item), set.delete(item), set.has(item), set.delete(item)]).toEqual([true, true, false, false])
    }
    expect(namesIn(set)).toEqual(['a', 'b', 'c'].filter((name) => !removed.includes(name)))
    set.add({ name: 'd' })
    expect([set.size, namesIn(set).at(-1)]).toEqual([4 - removed.length, 'd'])
  },
)

it('a loop over a linked set may delete the member that it visits', () => {
  const set = setOf(...itemsOf('a', 'b', 'c'))
  for (const item of set) if (item.name !== 'b') set.delete(item)
  expect(namesIn(set)).toEqual(['b'])
})

it('minor garbage collections free the removed members of a linked set', async () => {
  const set = new LinkedSet<Item>()
  const bytes = await promotedBytes(300, async (i) => {
    set.add(Object.assign({ name: `${i}` }, { load: new Array(5000).fill(i) }))
    const [oldest] = set
    if (oldest && set.size > 1) set.delete(oldest)
  })
  expect(bytes).toBeLessThan(1_000_000)
})
