/** Reads the version of an event, even if the projector cannot apply the event. */
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import { parseEvent, RAW_HEADERS, readVersion, type Version } from '@customer-stream/schemas'

/** Undefined if the record has no valid version. */
export const versionOf = ({ value, headers }: FetchedRecord): Version | undefined => {
  const contentType = headers?.[RAW_HEADERS.contentType]?.toString()
  const parsed = parseEvent(value ?? Buffer.alloc(0), { contentType })
  const version = parsed.ok ? readVersion(parsed.value.envelope) : parsed
  return version.ok ? version.value : undefined
}
