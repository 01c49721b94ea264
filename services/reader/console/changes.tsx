import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { CustomerDocument } from '../src/http/customer-document.ts'
import { ApiError, open } from './api.ts'
import { formatClock, UNKNOWN } from './format.ts'
import { addressOf } from './place.ts'
import { Problem } from './problem.tsx'
import { Scroll } from './scroll.tsx'
import { readServerEvents } from './server-events.ts'

type ChangedCustomer = Omit<CustomerDocument, 'appliedAt'>

interface Change {
  readonly customerUuid: string
  /** Undefined if the customer was removed. */
  readonly customer: ChangedCustomer | undefined
  readonly at: number
}

const MAX_SHOWN = 15
const RETRY_MS = 3000

const latest = signal<readonly Change[]>([])
const problem = signal<Error | undefined>(undefined)
const isOpen = signal(false)

const readOnce = async (lastId: string | undefined, stopping: AbortSignal, onId: (id: string) => void) => {
  const headers = lastId === undefined ? {} : { 'last-event-id': lastId }
  const answer = await open('/v1/changes', { headers, signal: stopping })
  isOpen.value = true
  problem.value = undefined
  await readServerEvents(
    answer,
    ({ name, data }) => {
      const document = JSON.parse(data) as ChangedCustomer
      const customer = name === 'changed' ? document : undefined
      const change = { customerUuid: document.customerUuid, customer, at: Date.now() }
      latest.value = [change, ...latest.value].slice(0, MAX_SHOWN)
    },
    onId,
  )
}

/**
 * Follows the changes until the signal aborts, or until the reader refuses the key. Opens the
 * stream again if it ends.
 */
const followChanges = async (stopping: AbortSignal): Promise<void> => {
  let lastId: string | undefined
  while (!stopping.aborted) {
    try {
      await readOnce(lastId, stopping, (id) => {
        lastId = id
      })
    } catch (error) {
      if (stopping.aborted) return
      problem.value = error as Error
      if (error instanceof ApiError && error.status === 410) lastId = undefined
      if (error instanceof ApiError && [401, 403, 404].includes(error.status)) return
    } finally {
      isOpen.value = false
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** The newest changes, while they happen. */
export const Changes = () => {
  useEffect(() => {
    const stopping = new AbortController()
    void followChanges(stopping.signal)
    return () => stopping.abort()
  }, [])
  return (
    <section class="card">
      <h2>Changes as they happen</h2>
      <Problem error={problem.value} />
      <p class="faint">
        {isOpen.value ? 'The newest customers first. Personal data is masked.' : 'The stream is not open.'}
      </p>
      {latest.value.length > 0 && (
        <Scroll name="Table of changes">
          <table class="lines">
            <thead>
              <tr>
                <th scope="col">Seen</th>
                <th scope="col">Customer</th>
                <th scope="col">Change</th>
                <th scope="col">Dealer</th>
              </tr>
            </thead>
            <tbody>
              {latest.value.map(({ customerUuid, customer, at }) => (
                <tr key={`${at} ${customerUuid} ${customer?.version.id}`}>
                  <td>
                    <time dateTime={new Date(at).toISOString()}>{formatClock(at)}</time>
                  </td>
                  <th scope="row">
                    <a href={addressOf('look-up', customerUuid)}>
                      <bdi>{customerUuid}</bdi>
                    </a>
                  </th>
                  <td>{customer ? 'changed' : 'removed'}</td>
                  <td>
                    <bdi>{customer?.dealerUuid ?? UNKNOWN}</bdi>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  )
}
