/** Decides which changes a stream shows, and as which event. */
import type { Change } from './change.ts'

export interface ViewOptions {
  /** Undefined if the stream shows all customers. */
  readonly customers: ReadonlySet<string> | undefined
  /** Returns true if the stream shows customers of this dealer. */
  readonly showsDealer: (dealerUuid: string | undefined) => boolean
  /** True if the API key may see the customers of all dealers. */
  readonly seesAllDealers: boolean
  readonly isMasked: boolean
  /** Customers that the client may see at the start of the stream, as far as they are known. */
  readonly shown: readonly string[]
}

/** Event of a stream, without its id. */
export interface ShownEvent {
  readonly customerUuid: string
  readonly name: 'changed' | 'removed'
  /** JSON. */
  readonly data: string
}

/** Returns undefined if the stream does not show the change. */
export type ChangeView = (change: Change) => ShownEvent | undefined

/** Maximum number of customers that a stream remembers. */
const MAX_REMEMBERED = 1000

/**
 * A tombstone does not say whose customer it removes, and a client must not learn the ids of
 * another dealer's customers. So a key for some dealers gets `removed` only for a customer that its
 * stream has shown.
 */
export const createChangeView = ({
  customers,
  showsDealer,
  seesAllDealers,
  isMasked,
  shown,
}: ViewOptions): ChangeView => {
  const remembered = new Set(shown)
  const remember = (customerUuid: string) => {
    remembered.delete(customerUuid)
    remembered.add(customerUuid)
    const [oldest] = remembered
    if (remembered.size > MAX_REMEMBERED && oldest !== undefined) remembered.delete(oldest)
  }
  return (change) => {
    const content = change.content()
    if (content === undefined || customers?.has(content.customerUuid) === false) return undefined
    const { customerUuid, document } = content
    if (document && showsDealer(document.dealerUuid ?? undefined)) {
      remember(customerUuid)
      const data = change.text(isMasked)
      return data === undefined ? undefined : { customerUuid, name: 'changed', data }
    }
    const wasShown = remembered.delete(customerUuid)
    const isRemoved = wasShown || (document === null && seesAllDealers)
    return isRemoved ? { customerUuid, name: 'removed', data: JSON.stringify({ customerUuid }) } : undefined
  }
}
