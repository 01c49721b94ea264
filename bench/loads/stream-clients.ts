/** Clients of streams of changes (Server-Sent Events). */
import { type ClientRequest, get } from 'node:http'
import { waitUntil } from '@customer-stream/runtime'

const headers = { authorization: 'Bearer masked-api-key' }

/**
 * Waits until the reader has read the state topic to its end. Until then a ready reader may answer
 * 503.
 */
const untilServed = (url: string) =>
  waitUntil(
    'the reader serves streams of changes',
    async () => {
      const { status, body } = await fetch(url, { headers })
      await body?.cancel()
      return status
    },
    (status) => status === 200,
  )

const event = /^event: changed\ndata: \{"customerUuid":"([^"]+)"/gm

/**
 * Opens a stream at each address.
 * @param onChanged called for each event of each client.
 */
export const openStreamClients = async (
  urls: readonly string[],
  onChanged: (customerUuid: string) => void,
): Promise<{ close(): void }> => {
  const requests: ClientRequest[] = []
  const open = (url: string) =>
    new Promise<void>((resolve, reject) => {
      const request = get(url, { headers, agent: false }, (answer) => {
        if (answer.statusCode !== 200) return reject(new Error(`the answer is ${answer.statusCode}`))
        let rest = ''
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          const text = rest + chunk
          const end = text.lastIndexOf('\n\n') + 2
          rest = end < 2 ? text : text.slice(end)
          if (end >= 2) for (const [, customerUuid = ''] of text.slice(0, end).matchAll(event)) onChanged(customerUuid)
        })
        answer.on('error', () => undefined)
        resolve()
      })
      request.on('error', reject)
      requests.push(request)
    })
  for (const url of urls.slice(0, 1)) await untilServed(url)
  for (const url of urls) await open(url)
  return { close: () => requests.forEach((request) => void request.destroy()) }
}
