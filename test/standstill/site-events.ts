import { waitUntil } from '@customer-stream/runtime'
import type { KafkaClient } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { customerKey } from '@customer-stream/schemas'
import { type MadeCustomersEvent, makeCustomersEvent, sign } from '@customer-stream/simulator'
import { kafkajsOf } from '@customer-stream/testing'
import type { SiteTopics } from './rights.ts'

export const SECRETS = { MYKAARMA_SIGNING_SECRETS: 'a=site-secret', MYKAARMA_TOKENS: 'a=site-token' }

export interface SiteEvents {
  /** All events that were answered with 202 or that the harness stored in Kafka. */
  readonly acknowledged: MadeCustomersEvent[]
  /**
   * Sends one event, once. Resolves with the event and the status of the answer, or 0 if there was
   * no answer.
   */
  post(event?: MadeCustomersEvent): Promise<{ readonly event: MadeCustomersEvent; readonly status: number }>
  postBody(body: string): Promise<number>
  /** Stores events in Kafka like the ingress. If `partition` is given, all events go there. */
  produce(events: readonly MadeCustomersEvent[], partition?: number): Promise<void>
  /** Returns the events that are not in Redis. */
  notApplied(events: readonly MadeCustomersEvent[]): Promise<MadeCustomersEvent[]>
  /** Resolves when every acknowledged event is in Redis. */
  untilApplied(): Promise<void>
}

export const createEvents = ({
  ingress,
  topics,
  keyPrefix,
  redis,
  kafka,
}: {
  readonly ingress: { readonly url: string }
  readonly topics: SiteTopics
  readonly keyPrefix: string
  readonly redis: RedisClient
  /** Returns the client of the Kafka that the site uses now. */
  readonly kafka: () => KafkaClient
}): SiteEvents => {
  const acknowledged: MadeCustomersEvent[] = []
  const events: SiteEvents = {
    acknowledged,
    post: async (event = makeCustomersEvent()) => {
      const status = await events.postBody(event.body)
      if (status === 202) acknowledged.push(event)
      return { event, status }
    },
    postBody: async (body) => {
      const headers = {
        'content-type': 'text/plain',
        'mykaarma-signature-token': sign(body, 'site-secret'),
        'x-authorization-token': 'site-token',
      }
      const answer = await fetch(`${ingress.url}/webhooks/mykaarma`, { method: 'POST', body, headers }).catch(
        () => undefined,
      )
      await answer?.arrayBuffer()
      return answer?.status ?? 0
    },
    notApplied: async (made) => {
      const found = await Promise.all(
        made.map(({ customerUuid }) =>
          redis.hget(customerKey(customerUuid, keyPrefix), '_eventId').catch(() => undefined),
        ),
      )
      return made.filter(({ id }, i) => found[i] !== id)
    },
    produce: async (made, partition) => {
      const producer = kafkajsOf(kafka()).producer()
      await producer.connect()
      const messages = made.map(({ customerUuid, body }) => ({
        key: customerUuid,
        value: body,
        ...(partition !== undefined && { partition }),
      }))
      await producer.send({ topic: topics.customers, acks: -1, messages })
      await producer.disconnect()
      acknowledged.push(...made)
    },
    untilApplied: async () => {
      const missing = async () => (await events.notApplied(acknowledged)).length
      await waitUntil('all acknowledged events are in Redis', missing, (count) => count === 0)
    },
  }
  return events
}
