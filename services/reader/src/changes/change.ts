/**
 * One record of the state topic, as streams show it. The record is parsed once, for the first
 * stream.
 */
import { readStateRecord } from '@customer-stream/schemas'
import { type ChangeDocument, stateDocument } from '../http/customer-document.ts'
import { maskCustomer } from '../http/mask.ts'

export interface ChangeContent {
  readonly customerUuid: string
  /** Null if the record is a tombstone: the customer was erased. */
  readonly document: ChangeDocument | null
}

export interface Change {
  readonly partition: number
  readonly offset: number
  readonly bytes: number
  /** Undefined if the record is neither a document nor a tombstone. */
  content(): ChangeContent | undefined
  /** Returns the document as JSON. Undefined if the document is nested too deep. */
  text(isMasked: boolean): string | undefined
}

const once = <T>(make: () => T): (() => T) => {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

interface KeyAndValue {
  readonly key: Buffer | null
  readonly value: Buffer | null
}

const read = (record: KeyAndValue): ChangeContent | undefined => {
  const found = readStateRecord(record)
  if (!found.ok) return undefined
  const { customerUuid, state } = found.value
  const document = state && stateDocument(state)
  return document === undefined ? undefined : { customerUuid, document }
}

export const createChange = (
  partition: number,
  { offset, key, value }: KeyAndValue & { readonly offset: string },
): Change => {
  // Copy the bytes. Otherwise a small record would keep the whole response of Kafka in memory.
  let record: KeyAndValue | undefined = { key: key && Buffer.from(key), value: value && Buffer.from(value) }
  const content = once(() => {
    const found = read(record!)
    record = undefined
    return found
  })
  const texts = [false, true].map((isMasked) =>
    once(() => {
      const document = content()?.document
      try {
        return JSON.stringify(document && isMasked ? maskCustomer(document) : document)
      } catch {
        return undefined
      }
    }),
  )
  return {
    partition,
    offset: Number(offset),
    bytes: (key?.byteLength ?? 0) + (value?.byteLength ?? 0),
    content,
    text: (isMasked) => texts[Number(isMasked)]!(),
  }
}
