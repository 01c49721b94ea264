import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** Ports that were free a moment ago, each another. Linux gives them in an order of its own, so that two callers do not meet. */
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
 * Free ports for a server that may leave and come back. They lie below those that the system gives to outgoing connections: a client that tries to reach
 * the server meanwhile would now and then be given the very port, and the server could not return to it.
 * @param partnerOffset where the server takes a second port at this distance, that one is free as well.
 */
export const freePortsToKeep = async (count: number, partnerOffset = 0): Promise<number[]> => {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(16_384, 32_768 - partnerOffset)
    if ((await isFree(port)) && (await isFree(port + partnerOffset))) ports.add(port)
  }
  return [...ports]
}
