import type { Place } from '../list-customers.ts'

/** The list to which a cursor belongs. */
export interface CursorList {
  readonly dealerUuid: string
  readonly since: number
}

export const writeCursor = ({ dealerUuid, since }: CursorList, { timestamp, customerUuid }: Place): string =>
  Buffer.from(JSON.stringify([dealerUuid, since, timestamp, customerUuid])).toString('base64url')

/**
 * Reads a cursor. A forged cursor with valid content is harmless. It is only a place in a list that
 * the API key may read.
 * @returns undefined if the cursor is damaged, or belongs to another list.
 */
export const readCursor = (text: string, list: CursorList): Place | undefined => {
  try {
    const parts: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
    const [, , timestamp, customerUuid] = parts as unknown[]
    const place = { timestamp, customerUuid } as Place
    const isPlace = Number.isSafeInteger(timestamp) && place.timestamp >= list.since && typeof customerUuid === 'string'
    // The text must be exactly the text that `writeCursor` returns for this list and place.
    return isPlace && writeCursor(list, place) === text ? place : undefined
  } catch {
    return undefined
  }
}
