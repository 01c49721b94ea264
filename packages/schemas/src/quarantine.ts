import type { RecordFault } from './read-record.ts'
import { KEY_TOO_LONG } from './route.ts'

/**
 * The reasons in quarantine (dead-letter topic). Each text completes "The record …". A newer
 * service may write reasons that are not in this list.
 */
export const QUARANTINE_REASONS = {
  'not-utf8': 'has bytes that are invalid in the declared charset, or in UTF-8 if none is declared',
  'not-json': 'is not JSON',
  'nested-too-deep': 'has JSON that is nested too deep',
  'not-an-object': 'is JSON, but not an object',
  'missing-type': 'has no type',
  'payload-not-json': 'has a payload that is not JSON',
  'payload-not-an-object': 'has a payload that is not an object',
  'missing-customer': 'has no customer in its payload',
  'missing-customer-uuid': 'has no customerUuid',
  'invalid-customer-uuid': 'has a customerUuid that is not valid Unicode text',
  [KEY_TOO_LONG]: 'has a customerUuid of more than 32 KiB',
  'missing-event-id': 'has no event id',
  'invalid-event-id': 'has an event id that is not a string, or is not valid Unicode text',
  'invalid-timestamp': 'has no valid timestamp in milliseconds',
  'too-far-in-future': 'has a timestamp that is later than its receipt by more than `MAX_FUTURE_MS`',
  'too-many-fields': 'has more fields than a hash may have',
  'not-a-customers-event': 'is in the topic of customers, but has a different type',
  'named-by-setting': 'is named by `QUARANTINE_RECORDS`',
  'unreadable-batch': 'is in a batch that cannot be decoded',
  'refused-by-kafka': 'was refused by Kafka, for example because of its size',
} as const satisfies Record<
  RecordFault | typeof KEY_TOO_LONG | 'named-by-setting' | 'unreadable-batch' | 'refused-by-kafka',
  string
>
