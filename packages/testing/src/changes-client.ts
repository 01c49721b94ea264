/** A client of the reader's `GET /v1/changes` whose socket can be paused. */
import { get as httpGet, type IncomingMessage } from 'node:http'
import { waitUntil } from '@customer-stream/runtime'

/** Opens a stream. Resolves when the stream has its first id. Counts only complete events. */
export const openChangesClient = async (url: string, key: string, lastEventId?: string) => {
  const headers = {
    authorization: `Bearer ${key}`,
    ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
  }
  const ask = () =>
    new Promise<IncomingMessage>((resolve, reject) => {
      httpGet(`${url}/v1/changes`, { headers, agent: false }, resolve).on('error', reject)
    })
  // A ready reader answers 503 until it follows the state topic.
  const answer = await waitUntil(
    'the reader serves the stream',
    async () => {
      const asked = await ask()
      if (asked.statusCode !== 200) asked.destroy()
      return asked
    },
    ({ statusCode }) => statusCode === 200,
  )
  const seen = { customers: [] as string[], lastId: '', isOpen: true }
  let rest = ''
  answer.setEncoding('utf8').on('data', (text: string) => {
    const blocks = (rest + text).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      seen.lastId = /^id: (.*)$/m.exec(block)?.[1] ?? seen.lastId
      const [, customerUuid] = /^data: \{"customerUuid":"(\w+)"/m.exec(block) ?? []
      if (customerUuid !== undefined) seen.customers.push(customerUuid)
    }
  })
  answer.on('error', () => undefined)
  answer.on('close', () => {
    seen.isOpen = false
  })
  await waitUntil(
    'the stream has its first id',
    () => seen.lastId,
    (id) => id !== '',
  )
  return {
    seen,
    pause: () => answer.pause(),
    untilSeen: (count: number) =>
      waitUntil(
        `the client has ${count} changes`,
        () => seen.customers.length,
        (found) => found >= count,
      ),
    /**
     * Continues to read after a pause. Resolves when the reader has closed the stream, and the
     * client has read all data.
     */
    untilCutOff: async () => {
      answer.resume()
      await waitUntil(
        'the client sees the end of its stream',
        () => seen.isOpen,
        (isOpen) => !isOpen,
      )
    },
    close: () => void answer.destroy(),
  }
}
