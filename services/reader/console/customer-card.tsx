import { useSignal } from '@preact/signals'
import type { CustomerDocument } from '../src/http/customer-document.ts'
import { ask } from './api.ts'
import { customerPath } from './customer-path.ts'
import { Problem } from './problem.tsx'
import { Time } from './time.tsx'
import { Fields, isMasked, Value } from './value.tsx'

const nameOf = ({ customer }: CustomerDocument): string => {
  const { firstName, lastName, company } = customer
  const parts = [firstName, lastName].filter((part) => part != null && part !== '')
  return parts.length > 0 ? parts.join(' ') : (company ?? 'Customer without a name')
}

const Origin = ({ document }: { readonly document: CustomerDocument }) => {
  const { customerUuid, dealerUuid, version, receivedAt, appliedAt, source } = document
  const facts: Record<string, unknown> = { customerUuid, dealerUuid, version: `${version.timestamp}:${version.id}` }
  return (
    <section>
      <h3>Origin</h3>
      <Fields of={facts} />
      <dl class="fields">
        <div>
          <dt>event of</dt>
          <dd>
            <Time at={version.timestamp} />
          </dd>
        </div>
        <div>
          <dt>received</dt>
          <dd>
            <Time at={receivedAt} />
          </dd>
        </div>
        <div>
          <dt>in Redis</dt>
          <dd>
            <Time at={appliedAt} />
          </dd>
        </div>
        <div>
          <dt>raw record</dt>
          <dd>
            <bdi>{`${source.topic}/${source.partition}/${source.offset}`}</bdi>
          </dd>
        </div>
      </dl>
    </section>
  )
}

/**
 * Order in which the card shows the parts of a name. The fields of a hash in Redis have no order.
 */
const NAME = ['firstName', 'middleName', 'lastName', 'company'] as const

/** Returns the given parts of the customer's name, in the usual order. */
const nameParts = (customer: CustomerDocument['customer']) =>
  Object.fromEntries(NAME.filter((name) => name in customer).map((name) => [name, customer[name]]))

const CONTACT = ['emails', 'phoneNumbers', 'bestTimeToContact']

/** Returns true if the customer has this part. The card leaves out a missing or empty part. */
const isGiven = (value: unknown): boolean => value != null && Object.keys(value).length > 0

const Parts = ({ document }: { readonly document: CustomerDocument }) => {
  const { customer, vehicles, addresses, texts, shadowed } = document
  const contact = Object.fromEntries(Object.entries(customer).filter(([name]) => CONTACT.includes(name)))
  const parts: readonly (readonly [string, unknown])[] = [
    ['Contact', contact],
    ['Vehicles', vehicles],
    ['Addresses', addresses],
    ['Fields that differ from the documentation', texts],
    ['Fields whose name was already used', shadowed],
  ]
  return (
    <div class="columns">
      <section>
        <h3>Person</h3>
        <Fields of={{ ...nameParts(customer), ...customer }} without={[...CONTACT, 'customerUuid']} />
      </section>
      {parts.map(
        ([title, value]) =>
          isGiven(value) && (
            <section key={title}>
              <h3>{title}</h3>
              <Value value={value} />
            </section>
          ),
      )}
      <Origin document={document} />
    </div>
  )
}

/** A customer. Personal data is masked until a person reveals it. */
export const CustomerCard = ({ found }: { readonly found: CustomerDocument }) => {
  const revealed = useSignal<CustomerDocument | undefined>(undefined)
  const problem = useSignal<Error | undefined>(undefined)
  const document = revealed.value ?? found
  const reveal = async () => {
    problem.value = undefined
    try {
      revealed.value = await ask<CustomerDocument>(customerPath(found.customerUuid), { reveals: true })
    } catch (error) {
      problem.value = error as Error
    }
  }
  const hide = () => {
    revealed.value = undefined
  }
  const isRefused = revealed.value !== undefined && isMasked(revealed.value)
  return (
    <article class="card" aria-labelledby="customer-name">
      <header>
        <h2 id="customer-name">{isMasked(document.customer) ? 'Customer (masked)' : <bdi>{nameOf(document)}</bdi>}</h2>
        {revealed.value ? (
          <button type="button" onClick={hide}>
            Mask again
          </button>
        ) : (
          <button type="button" onClick={reveal}>
            Reveal personal data
          </button>
        )}
      </header>
      <p class="faint">The reader logs each reveal with the name of your API key.</p>
      {isRefused && <p class="problem">Your API key does not have the scope pii, so the reader masks these values.</p>}
      <Problem error={problem.value} />
      <Parts document={document} />
    </article>
  )
}
