/** Decides which changes a stream shows, and as which event. */
import type { Change } from './change.ts'
import type { ShownCustomers } from './shown-customers.ts'

/** The customers that a stream shows. */
export interface Selection {
  /** Undefined if the stream shows all customers. */
  readonly customers: ReadonlySet<string> | undefined
  /** Undefined if the stream shows customers of all dealers, and customers without a dealer. */
  readonly dealers: ReadonlySet<string> | undefined
}

export interface ViewOptions extends Selection {
  /** True if the API key may see the customers of all dealers. */
  readonly seesAllDealers: boolean
  readonly isMasked: boolean
  /** Customers whose dealer is known at the start of the stream, and that the client may see. */
  readonly shown: readonly { readonly customerUuid: string; readonly dealerUuid: string | undefined }[]
}

/** A change that a stream shows. */
export interface ShownChange {
  readonly customerUuid: string
  readonly name: 'changed' | 'removed'
  /**
   * Returns the bytes of a server-sent event with this id. Undefined if its document is nested too
   * deep.
   */
  event(id: string): Buffer | undefined
}

export interface ChangeView {
  /** Returns undefined if the stream does not show the change. */
  show(change: Change): ShownChange | undefined
  /** Removes all customers from memory. */
  close(): void
}

const removedEvent = (id: string, customerUuid: string): Buffer =>
  Buffer.from(`id: ${id}\nevent: removed\ndata: ${JSON.stringify({ customerUuid })}\n\n`)

/** Maximum number of customers that a stream remembers. */
const MAX_REMEMBERED = 1000

/**
 * Creates the view of one stream. A key for some dealers gets `removed` only for a customer that
 * its stream has shown. The reason: a tombstone does not name the dealer, and a client must not
 * learn the ids of another dealer's customers.
 */
export const createChangeView = (
  { customers, dealers, seesAllDealers, isMasked, shown }: ViewOptions,
  shownCustomers: Pick<ShownCustomers, 'add' | 'remove'>,
): ChangeView => {
  const remembered = new Set<string>()
  const forget = (customerUuid: string): boolean => {
    const wasShown = remembered.delete(customerUuid)
    if (wasShown) shownCustomers.remove(customerUuid)
    return wasShown
  }
  const remember = (customerUuid: string, dealerUuid: string | undefined) => {
    // A Set keeps the order of insertion, so the customer is added again at the end.
    if (!remembered.delete(customerUuid)) shownCustomers.add(customerUuid, dealerUuid)
    remembered.add(customerUuid)
    const [oldest] = remembered
    if (remembered.size > MAX_REMEMBERED && oldest !== undefined) forget(oldest)
  }
  for (const { customerUuid, dealerUuid } of shown) remember(customerUuid, dealerUuid)
  const showsDealer = (dealerUuid: string | undefined) =>
    dealers === undefined || (dealerUuid !== undefined && dealers.has(dealerUuid))
  return {
    show: (change) => {
      const content = change.content()
      if (content === undefined) return undefined
      const { customerUuid, dealerUuid, isErased } = content
      if (customers?.has(customerUuid) === false) return undefined
      if (!isErased && showsDealer(dealerUuid)) {
        remember(customerUuid, dealerUuid)
        return { customerUuid, name: 'changed', event: (id) => change.event(id, isMasked) }
      }
      const isRemoved = forget(customerUuid) || (isErased && seesAllDealers)
      return isRemoved ? { customerUuid, name: 'removed', event: (id) => removedEvent(id, customerUuid) } : undefined
    },
    close: () => {
      for (const customerUuid of remembered) forget(customerUuid)
    },
  }
}
