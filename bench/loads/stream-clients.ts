/** Clients of streams of changes (Server-Sent Events). */
import { type ClientRequest, get } from 'node:http'

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
      const request = get(url, { headers: { authorization: 'Bearer masked-api-key' }, agent: false }, (answer) => {
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
  for (const url of urls) await open(url)
  return { close: () => requests.forEach((request) => void request.destroy()) }
}
