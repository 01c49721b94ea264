import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { createServer } from 'node:tls'

/**
 * Opens a port that speaks TLS, and forwards to a port without TLS. Ends with this process.
 * @returns the port.
 */
export const openTlsProxy = async (
  { cert, key }: { readonly cert: string; readonly key: string },
  targetPort: number,
): Promise<number> => {
  const server = createServer({ cert, key }, (client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('error', () => undefined)
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}
