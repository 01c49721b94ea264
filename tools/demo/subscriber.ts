/** Shows what another team sees: a table of the current customers, read from the state topic. */

import { clipped, widthOf, wrapped } from '@customer-stream/cli/layout'
import { unlessAborted } from '@customer-stream/runtime'
import { customerKey, META } from '@customer-stream/schemas'
import { openCustomerTable } from '@customer-stream/subscriber'
import { kafkajsOf } from '@customer-stream/testing'
import { customersOf } from './measure.ts'
import type { Demo } from './phases.ts'
import { addsUp, sumText } from './sums.ts'

const INDENT = '  '

/**
 * Returns a document as lines of JSON, which break at spaces. Cuts a word that is longer than a
 * line.
 */
export const documentLines = (document: object, columns: number): string[] => {
  const text = JSON.stringify(document, null, 1).replaceAll(/\n\s*/g, ' ')
  return wrapped(text, widthOf(columns) - INDENT.length).map((line) => clipped(INDENT + line, columns))
}

/**
 * Starts a new subscriber. Shows the time until its table is complete, and one document.
 * @returns true if the table has as many customers as Redis, and the shown customer in the same
 *   version.
 */
export const showSubscriber = async (
  { screen, pipeline, signal }: Pick<Demo, 'screen' | 'pipeline' | 'signal'>,
  customerUuid: string,
): Promise<boolean> => {
  screen.heading('What a subscriber sees')
  const read = async () => {
    const table = openCustomerTable({ kafka: kafkajsOf(pipeline.kafka), topic: pipeline.stateTopic, signal })
    try {
      await table.untilCaughtUp()
      return { size: table.size, state: table.get(customerUuid) }
    } finally {
      await table.close()
    }
  }
  const { size, state } = await screen.during(
    'table',
    'a new subscriber reads the state topic',
    () => unlessAborted(read(), signal),
    () => 'a new subscriber has read all of the state topic',
  )
  const inRedis = (await customersOf(pipeline)).size
  const sum = { label: 'in the table', total: size, parts: [{ count: inRedis, text: 'customers in Redis' }] }
  screen.print(sumText(sum, screen.columns))
  if (state) screen.print(documentLines(state, screen.columns).join('\n'))
  const eventId = await pipeline.redis.hget(customerKey(customerUuid, pipeline.keyPrefix), META.eventId)
  return addsUp(sum) && state !== undefined && state.version.id === eventId
}
