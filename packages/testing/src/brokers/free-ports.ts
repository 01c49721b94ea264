import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/**
 * Returns distinct ports that were free a moment ago. Two callers seldom get the same port, because
 * the system chooses the ports.
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
 * the system uses for outgoing connections. Otherwise the connection of any client could take the
 * port of a stopped server, and the server could not start again.
 * @param partnerOffset distance to a second port of the server. The second port is free too.
 */
export const freePortsToKeep = async (count: number, partnerOffset = 0): Promise<number[]> => {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(16_384, 32_768 - partnerOffset)
    if ((await isFree(port)) && (await isFree(port + partnerOffset))) ports.add(port)
  }
  return [...ports]
}
