/**
 * One record of the state topic, as streams show it. The record is parsed once, for the first
 * stream.
 */
import { readStateRecord } from '@customer-stream/schemas'
import { type ChangeDocument, stateDocument } from '../http/customer-document.ts'
import { maskCustomer } from '../http/mask.ts'

export interface ChangeContent {
  readonly customerUuid: string
  readonly dealerUuid: string | undefined
  /** True if the record is a tombstone: the customer was erased. */
  readonly isErased: boolean
}

export interface Change {
  readonly partition: number
  readonly offset: number
  readonly bytes: number
  /** Undefined if the record is neither a document nor a tombstone. */
  content(): ChangeContent | undefined
  /**
   * Returns the bytes of a server-sent event: its type is `changed`, its data is the document.
   * Streams that send the same id share the bytes. Undefined if the record has no document, or if
   * the document is nested too deep.
   */
  event(id: string, isMasked: boolean): Buffer | undefined
  /** Frees the memory of the parsed document. A later call parses the record again. */
  forgetDocument(): void
}

interface KeyAndValue {
  readonly key: Buffer | null
  readonly value: Buffer | null
}

interface Parsed {
  readonly content: ChangeContent | undefined
  readonly document: ChangeDocument | null
}

const parse = (record: KeyAndValue): Parsed => {
  const found = readStateRecord(record)
  if (!found.ok) return { content: undefined, document: null }
  const { customerUuid, state } = found.value
  const document = state && stateDocument(state)
  if (document === undefined) return { content: undefined, document: null }
  const dealerUuid = document?.dealerUuid ?? undefined
  return { content: { customerUuid, dealerUuid, isErased: document === null }, document }
}

/**
 * Copies the bytes of a record. Otherwise a small record would keep the whole response of Kafka in
 * memory. A copy in Node's buffer pool could keep 64 KiB for a small record.
 */
const copyOf = (bytes: Buffer): Buffer => {
  const copy = Buffer.allocUnsafeSlow(bytes.byteLength)
  copy.set(bytes)
  return copy
}

const writeEvent = (id: string, document: ChangeDocument, isMasked: boolean): Buffer | undefined => {
  try {
    const data = JSON.stringify(isMasked ? maskCustomer(document) : document)
    return Buffer.from(`id: ${id}\nevent: changed\ndata: ${data}\n\n`)
  } catch {
    return undefined
  }
}

export const createChange = (
  partition: number,
  { offset, key, value }: KeyAndValue & { readonly offset: string },
): Change => {
  const record = { key: key && copyOf(key), value: value && copyOf(value) }
  let parsed: Parsed | undefined
  let content: ChangeContent | undefined | 'unread' = 'unread'
  const events: { id: string; bytes: Buffer | undefined }[] = []
  const getParsed = () => {
    parsed ??= parse(record)
    return parsed
  }
  return {
    partition,
    offset: Number(offset),
    bytes: (key?.byteLength ?? 0) + (value?.byteLength ?? 0),
    content: () => {
      if (content === 'unread') ({ content } = getParsed())
      return content
    },
    event: (id, isMasked) => {
      const made = events[Number(isMasked)]
      if (made?.id === id) return made.bytes
      const { document } = getParsed()
      const bytes = document === null ? undefined : writeEvent(id, document, isMasked)
      events[Number(isMasked)] = { id, bytes }
      return bytes
    },
    forgetDocument: () => {
      parsed = undefined
      events.length = 0
    },
  }
}
