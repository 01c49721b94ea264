/** Shows what an application sees: a search by phone number, and a change while it happens. */

import { unlessAborted } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { askReader } from '@customer-stream/testing'
import { PHONE } from './one-customer.ts'
import type { Demo } from './phases.ts'
import { documentLines } from './subscriber.ts'

/** The number of {@link PHONE}, as a person on the phone says it. */
const SPOKEN_PHONE = '415.555.0123'

interface Found {
  readonly customers: readonly {
    readonly customerUuid: string
    readonly customer: Readonly<Record<string, unknown>>
  }[]
}

/** Rejects if the answer is an error. */
const answerOf = async (answer: Promise<Response>): Promise<Response> => {
  const response = await answer
  if (!response.ok) throw new Error(`the reader answered ${response.status}: ${await response.text()}`)
  return response
}

/**
 * Searches the customer by phone number.
 * @returns true if the reader finds this customer, and no other.
 */
export const showSearch = async (
  { screen, services, signal }: Pick<Demo, 'screen' | 'services' | 'signal'>,
  customerUuid: string,
): Promise<boolean> => {
  screen.heading('What an application sees')
  const search = async () => {
    const body = JSON.stringify({ phone: SPOKEN_PHONE })
    const headers = { 'content-type': 'application/json' }
    const answer = askReader(services.reader, '/v1/customers/search', { method: 'POST', headers, body })
    return (await (await answerOf(answer)).json()) as Found
  }
  const { customers } = await screen.during(
    'phone',
    'asking the reader who has a phone number',
    () => unlessAborted(search(), signal),
    () => `POST /v1/customers/search {"phone": "${SPOKEN_PHONE}"} finds who calls`,
  )
  const [found] = customers
  if (found) {
    const { firstName, lastName, phoneNumbers } = found.customer
    const part = { customerUuid: found.customerUuid, customer: { firstName, lastName, phoneNumbers } }
    screen.print(documentLines(part, screen.columns).join('\n'))
  }
  return customers.length === 1 && found?.customerUuid === customerUuid
}

/** Reads a stream of Server-Sent Events until a line of data has this text. */
const untilData = async (stream: Response, text: string): Promise<void> => {
  let rest = ''
  for await (const chunk of stream.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    if (lines.some((line) => line.startsWith('data:') && line.includes(text))) return
  }
  throw new Error('the stream of changes ended')
}

/** Sends an event of the customer. Resolves when a stream of changes shows the event. */
export const showLiveChange = async (
  { screen, services, pipeline, signal }: Pick<Demo, 'screen' | 'services' | 'pipeline' | 'signal'>,
  customerUuid: string,
): Promise<void> => {
  const change = async (): Promise<number> => {
    const closing = new AbortController()
    try {
      const path = `/v1/changes?customer=${encodeURIComponent(customerUuid)}`
      const stream = await answerOf(askReader(services.reader, path, { signal: closing.signal }))
      const { id, body } = makeCustomersEvent({ customerUuid, timestamp: Date.now() })
      const sentAt = performance.now()
      const [{ status }] = await Promise.all([pipeline.post(services.ingress(), body), untilData(stream, id)])
      if (status !== 202) throw new Error(`the ingress answered ${status} to the event of a change`)
      return performance.now() - sentAt
    } finally {
      closing.abort()
    }
  }
  await screen.during(
    'live',
    'waiting for a change in GET /v1/changes',
    () => unlessAborted(change(), signal),
    (ms) => `a change of the customer is in GET /v1/changes ${ms.toFixed(0)} ms after its POST`,
  )
}
