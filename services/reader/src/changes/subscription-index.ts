/**
 * Finds the streams that a change concerns, by customer and by dealer. Otherwise each change would
 * need a loop over all streams.
 */
import type { ChangeContent } from './change.ts'
import type { Selection } from './change-view.ts'

export interface SubscriptionIndex<Member> {
  add(member: Member, selection: Selection): void
  remove(member: Member, selection: Selection): void
  /** Adds the members whose selection has the customer or its dealer. */
  collect(content: ChangeContent, members: Set<Member>): void
}

const createIndex = <Member>() => {
  const members = new Map<string, Set<Member>>()
  return {
    add: (keys: Iterable<string>, member: Member) => {
      for (const key of keys) members.set(key, (members.get(key) ?? new Set()).add(member))
    },
    remove: (keys: Iterable<string>, member: Member) => {
      for (const key of keys) {
        members.get(key)?.delete(member)
        if (members.get(key)?.size === 0) members.delete(key)
      }
    },
    of: (key: string | undefined): Iterable<Member> => (key === undefined ? [] : (members.get(key) ?? [])),
  }
}

export const createSubscriptionIndex = <Member>(): SubscriptionIndex<Member> => {
  const byCustomer = createIndex<Member>()
  const byDealer = createIndex<Member>()
  const ofAll = new Set<Member>()
  return {
    add: (member, { customers, dealers }) => {
      if (customers) byCustomer.add(customers, member)
      else if (dealers) byDealer.add(dealers, member)
      else ofAll.add(member)
    },
    remove: (member, { customers, dealers }) => {
      if (customers) byCustomer.remove(customers, member)
      else if (dealers) byDealer.remove(dealers, member)
      else ofAll.delete(member)
    },
    collect: ({ customerUuid, dealerUuid }, members) => {
      for (const found of [ofAll, byCustomer.of(customerUuid), byDealer.of(dealerUuid)])
        for (const member of found) members.add(member)
    },
  }
}
