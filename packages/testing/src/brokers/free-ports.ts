import { randomInt } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { dataFolder, isAlive } from './run.ts'

/**
 * Folder with one file for each port that a living process has reserved. The file has the id of the
 * process.
 */
const reservations = join(dataFolder, 'ports')
const reservedHere = new Set<string>()
process.once('exit', () => {
  for (const file of reservedHere) rmSync(file, { force: true })
})

/** Returns the process id in the file, or undefined if the process has just removed the file. */
const ownerOf = (file: string): number | undefined => {
  try {
    return Number(readFileSync(file, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Reserves a port for this process. Other processes then choose other ports, even while no server
 * listens on this port.
 * @returns false if a living process has reserved the port.
 */
const reserve = (port: number): boolean => {
  const file = join(reservations, String(port))
  mkdirSync(reservations, { recursive: true })
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    reservedHere.add(file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  // The file of a killed process stays. The next caller may then reserve the port.
  const owner = ownerOf(file)
  if (owner !== undefined && !isAlive(owner)) rmSync(file, { force: true })
  return false
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const holder = createServer()
    holder.once('error', () => resolve(false))
    holder.listen(port, '127.0.0.1', () => holder.close(() => resolve(true)))
  })

/**
 * Reserves free ports until this process ends. A server may stop and start again on its port. The
 * ports are below the range that the system uses for outgoing connections. Otherwise the connection
 * of any client could take the port of a stopped server, and the server could not start again.
 * @param partnerOffset distance to a second port of the server. The second port is free too.
 */
export const freePorts = async (count: number, partnerOffset = 0): Promise<number[]> => {
  const ports: number[] = []
  while (ports.length < count) {
    const port = randomInt(16_384, 32_768 - partnerOffset)
    const both = partnerOffset === 0 ? [port] : [port, port + partnerOffset]
    if (!both.every(reserve)) continue
    if ((await Promise.all(both.map(isFree))).every(Boolean)) ports.push(port)
  }
  return ports
}
