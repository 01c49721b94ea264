import fc from 'fast-check'
import { expect, it } from 'vitest'
import { customerKey, customerUuidOf, erasedKey } from './keys.ts'

/** Returns the text that selects the slot of a key on Redis Cluster. */
const slotOf = (key: string) => /^[^{]*\{([^}]+)\}/.exec(key)?.[1] ?? key

const ids = fc.string({ unit: fc.constantFrom('{', '}', '_', ':', 'a'), minLength: 1, maxLength: 6 })

it('all keys of a customer are in one slot, and no two customers share a key', () => {
  fc.assert(
    fc.property(ids, ids, (one, other) => {
      expect(slotOf(customerKey(one))).toBe(slotOf(erasedKey(one)))
      expect(customerUuidOf(customerKey(one))).toBe(one)
      expect(customerKey(one) === customerKey(other)).toBe(one === other)
      expect(customerKey(one)).not.toBe(erasedKey(other))
    }),
    { numRuns: 2000 },
  )
  expect(customerKey('a}', 'p:')).toBe('p:customer:{a}}')
  expect(customerKey('}a', 'p:')).toBe('p:customer:{_}}a:')
})
