import { signal } from '@preact/signals'
import type { TargetedSubmitEvent } from 'preact'
import { useEffect } from 'preact/hooks'
import type { CustomerDocument } from '../src/http/customer-document.ts'
import { ApiError, askWithHeaders, createLatest } from './api.ts'
import { CustomerCard } from './customer-card.tsx'
import { customerPath } from './customer-path.ts'
import { countOf } from './format.ts'
import { History } from './history.tsx'
import { goTo, place } from './place.ts'
import { Problem } from './problem.tsx'
import { Time } from './time.tsx'

const KINDS = { id: 'Customer id', phone: 'Phone number', email: 'E-mail address', vin: 'VIN' } as const
type Kind = keyof typeof KINDS

interface List {
  readonly customers: readonly CustomerDocument[]
  readonly truncated?: true
}

interface Found extends List {
  readonly kind: Kind
  /** Redis has every event that Kafka had at this time. NaN: the reader does not know the time. */
  readonly completeAsOf: number
}

// Outside of the component, so that the result stays when a person opens another view.
const found = signal<Found | undefined>(undefined)
const chosen = signal<CustomerDocument | undefined>(undefined)
const problem = signal<Error | undefined>(undefined)

const completeAsOf = (headers: Headers | undefined): number => Number(headers?.get('x-complete-as-of') ?? undefined)

const find = async (kind: Kind, text: string): Promise<Found> => {
  if (kind !== 'id') {
    const asked = { method: 'POST', body: { [kind]: text } } as const
    const [list, headers] = await askWithHeaders<List>('/v1/customers/search', asked)
    return { ...list, kind, completeAsOf: completeAsOf(headers) }
  }
  try {
    const [customer, headers] = await askWithHeaders<CustomerDocument>(customerPath(text))
    return { customers: [customer], kind, completeAsOf: completeAsOf(headers) }
  } catch (error) {
    if (error instanceof ApiError && error.type === 'customer-not-found')
      return { customers: [], kind, completeAsOf: completeAsOf(error.headers) }
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

const sentenceOf = ({ customers, truncated, kind }: Found): string => {
  if (truncated) return 'More than 100 customers. The newest are:'
  const sentence = `${countOf(customers.length, 'customer')} found.`
  // A person may have entered a value of another kind.
  return customers.length > 0 ? sentence : `${sentence} The value was looked up as: ${KINDS[kind]}.`
}

const Answer = (answer: Found) => (
  <>
    {sentenceOf(answer)}{' '}
    <span class="faint">
      {Number.isNaN(answer.completeAsOf) ? (
        'The reader does not know whether events wait.'
      ) : (
        <>
          Redis has all events until <Time at={answer.completeAsOf} />.
        </>
      )}
    </span>
  </>
)

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
      <p role="status">{found.value && <Answer {...found.value} />}</p>
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
