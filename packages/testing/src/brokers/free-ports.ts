import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/**
 * Returns distinct ports that were free a moment ago. Linux chooses them in its own order, so two
 * callers do not get the same port.
 */
export const freePorts = async (count: number): Promise<number[]> => {
  const holders = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(holders.map((holder) => once(holder, 'listening')))
  const ports = holders.map((holder) => (holder.address() as AddressInfo).port)
  await Promise.all(holders.map((holder) => holder.close() && once(holder, 'close')))
  return ports
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const holder = createServer()
    holder.once('error', () => resolve(false))
    holder.listen(port, '127.0.0.1', () => holder.close(() => resolve(true)))
  })

/**
 * Returns free ports for a server that may stop and start again. The ports are below the range that
 * the system uses for outgoing connections. Otherwise a client that tries to reach the stopped
 * server could get this port for its own connection. The server could then not listen on it again.
 * @param partnerOffset distance to a second port that the server uses, which is then free as well.
 */
export const freePortsToKeep = async (count: number, partnerOffset = 0): Promise<number[]> => {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(16_384, 32_768 - partnerOffset)
    if ((await isFree(port)) && (await isFree(port + partnerOffset))) ports.add(port)
  }
  return [...ports]
}
