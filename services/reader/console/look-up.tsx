import { signal } from '@preact/signals'
import type { TargetedSubmitEvent } from 'preact'
import { useEffect } from 'preact/hooks'
import type { CustomerDocument } from '../src/http/customer-document.ts'
import { ApiError, ask, createLatest } from './api.ts'
import { CustomerCard } from './customer-card.tsx'
import { customerPath } from './customer-path.ts'
import { countOf } from './format.ts'
import { History } from './history.tsx'
import { goTo, place } from './place.ts'
import { Problem } from './problem.tsx'
import { Time } from './time.tsx'

const KINDS = { id: 'Customer id', phone: 'Phone number', email: 'E-mail address', vin: 'VIN' } as const
type Kind = keyof typeof KINDS

interface Found {
  readonly customers: readonly CustomerDocument[]
  readonly truncated?: true
}

// Outside of the component, so that the result stays when a person opens another view.
const found = signal<Found | undefined>(undefined)
const chosen = signal<CustomerDocument | undefined>(undefined)
const problem = signal<Error | undefined>(undefined)

const find = async (kind: Kind, text: string): Promise<Found> => {
  if (kind !== 'id') return ask<Found>('/v1/customers/search', { method: 'POST', body: { [kind]: text } })
  try {
    return { customers: [await ask<CustomerDocument>(customerPath(text))] }
  } catch (error) {
    if (error instanceof ApiError && error.type === 'customer-not-found') return { customers: [] }
    throw error
  }
}

const begin = createLatest()

const lookUp = async (kind: Kind, text: string): Promise<void> => {
  const isLatest = begin()
  found.value = undefined
  chosen.value = undefined
  problem.value = undefined
  try {
    const answer = await find(kind, text)
    if (!isLatest()) return
    found.value = answer
    if (found.value.customers.length === 1) chosen.value = found.value.customers[0]
  } catch (error) {
    if (isLatest()) problem.value = error as Error
  }
}

const submit = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
  event.preventDefault()
  const form = new FormData(event.currentTarget)
  const text = String(form.get('text') ?? '').trim()
  if (text === '') return
  // Only an id may be in the address of the page. A phone number would stay in the history of the
  // browser.
  goTo('look-up')
  await lookUp(form.get('kind') as Kind, text)
}

const sentenceOf = ({ customers, truncated }: Found): string =>
  truncated ? 'More than 100 customers. The newest are:' : `${countOf(customers.length, 'customer')} found.`

const Matches = ({ customers }: Found) => (
  <ul class="matches">
    {customers.map((customer) => (
      <li key={customer.customerUuid}>
        <button
          type="button"
          aria-pressed={chosen.value === customer}
          onClick={() => {
            chosen.value = customer
          }}
        >
          <bdi>{customer.customerUuid}</bdi>
          <span class="faint">
            event of <Time at={customer.version.timestamp} />
          </span>
        </button>
      </li>
    ))}
  </ul>
)

export const LookUp = () => {
  const { detail } = place.value
  useEffect(() => {
    if (detail !== undefined) void lookUp('id', detail)
  }, [detail])
  return (
    <>
      <search>
        <form class="card row" onSubmit={submit}>
          <label>
            Look up by
            <select name="kind">
              {Object.entries(KINDS).map(([kind, name]) => (
                <option key={kind} value={kind}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label class="wide">
            Value
            <input name="text" autocomplete="off" spellcheck={false} maxLength={512} required />
          </label>
          <button class="main" type="submit">
            Look up
          </button>
        </form>
      </search>
      <p role="status">{found.value && sentenceOf(found.value)}</p>
      <Problem error={problem.value} />
      {found.value && found.value.customers.length > 1 && <Matches {...found.value} />}
      {chosen.value && (
        <>
          <CustomerCard key={chosen.value.customerUuid} found={chosen.value} />
          <History key={`history of ${chosen.value.customerUuid}`} customerUuid={chosen.value.customerUuid} />
        </>
      )}
    </>
  )
}
