/**
 * Finds customers that move to another dealer. The streams of the old dealer must show such a
 * change as `removed`. Keeps the customers that streams remember, each with its dealer.
 */
import type { ChangeContent } from './change.ts'

export interface ShownCustomers {
  /**
   * Must be called when a stream has shown a customer of this dealer and remembers the customer.
   */
  add(customerUuid: string, dealerUuid: string | undefined): void
  /** Must be called when a stream no longer remembers the customer. */
  remove(customerUuid: string): void
  /**
   * Must be called for each change, in order. Returns true if a stream may remember the customer as
   * a customer of another dealer.
   */
  move(content: ChangeContent): boolean
}

/**
 * Stands in the place of the dealer if streams have shown the customer with different dealers. This
 * happens if one stream is behind another.
 */
const SEVERAL = Symbol()

export const createShownCustomers = (): ShownCustomers => {
  const shown = new Map<string, { dealer: string | undefined | typeof SEVERAL; streams: number }>()
  return {
    add: (customerUuid, dealer) => {
      const known = shown.get(customerUuid)
      if (known === undefined) {
        shown.set(customerUuid, { dealer, streams: 1 })
        return
      }
      known.streams += 1
      if (known.dealer !== dealer) known.dealer = SEVERAL
    },
    remove: (customerUuid) => {
      const known = shown.get(customerUuid)
      if (known !== undefined && --known.streams === 0) shown.delete(customerUuid)
    },
    move: ({ customerUuid, dealerUuid, isErased }) => {
      if (isErased) return true
      const known = shown.get(customerUuid)
      if (known === undefined || known.dealer === dealerUuid) return false
      known.dealer = dealerUuid
      return true
    },
  }
}
