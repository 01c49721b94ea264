/**
 * Position of a client in the state topic: the id of an event (`Last-Event-ID`). The id has the
 * next offset of each partition, so a new stream continues exactly after the event.
 */

export interface StreamPosition {
  /** First digits of the topic's id. Another topic has other records at these offsets. */
  readonly topic: string
  /** Time at which the reader wrote the position, Unix seconds. */
  readonly writtenAt: number
  /** Next offset of each partition. The index is the number of the partition. */
  readonly offsets: readonly number[]
}

const NO_ID = 'none'

export const topicTag = (topicId: string): string => topicId.slice(0, 8) || NO_ID

const nowSeconds = (): number => Math.floor(Date.now() / 1000)

/**
 * Returns the text of a position, which is the id of an event.
 * @param offsets in base 36, as `offsetText` writes them.
 */
export const positionText = (topic: string, offsets: readonly string[], writtenAt: number = nowSeconds()): string =>
  `${topic}.${offsetText(writtenAt)}.${offsets.join('-')}`

export const offsetText = (offset: number): string => offset.toString(36)

const form = /^([0-9a-f]{8}|none)\.([0-9a-z]{1,10})\.([0-9a-z]{1,11}(?:-[0-9a-z]{1,11})*)$/

/** Returns undefined if the text is not a position. */
export const readPosition = (text: string): StreamPosition | undefined => {
  const [, topic = '', writtenAt = '', offsets = ''] = form.exec(text) ?? []
  const numbers = [writtenAt, ...offsets.split('-')].map((digits) => Number.parseInt(digits, 36))
  const [seconds, ...next] = numbers
  return seconds === undefined || !numbers.every(Number.isSafeInteger)
    ? undefined
    : { topic, writtenAt: seconds, offsets: next }
}
