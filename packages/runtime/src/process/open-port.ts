import type { FastifyInstance } from 'fastify'
import { quoted } from './quoted.ts'
import { SettingsError } from './settings.ts'

/** Address and port to listen on, each with the name of its setting. */
export interface PortSettings {
  readonly host: readonly [name: string, value: string]
  readonly port: readonly [name: string, value: number]
}

/** Errors that stay until a person changes the setting. */
const WRONG_HOST = new Set(['EADDRNOTAVAIL', 'ENOTFOUND', 'EINVAL'])

/**
 * Opens the port. Returns its address.
 * @throws SettingsError if this machine does not have the address. Any other failure, such as a
 *   port in use or a missing right, is an Error with the names of the settings.
 */
export const openPort = async (
  app: Pick<FastifyInstance, 'listen'>,
  { host: [hostName, host], port: [portName, port] }: PortSettings,
): Promise<string> => {
  try {
    return await app.listen({ host, port })
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    if (WRONG_HOST.has(code))
      throw new SettingsError([`${hostName}: ${quoted(host)} is not an address of this machine (${code})`])
    throw new Error(`${portName}=${port} on ${hostName}=${quoted(host)} cannot be opened: ${message}`, { cause: error })
  }
}

/** Returns the settings that have the address of the admin port. */
export const adminPortOf = (settings: {
  readonly HOST: string
  readonly ADMIN_HOST?: string | undefined
  readonly ADMIN_PORT: number
}): PortSettings => ({
  host: settings.ADMIN_HOST === undefined ? ['HOST', settings.HOST] : ['ADMIN_HOST', settings.ADMIN_HOST],
  port: ['ADMIN_PORT', settings.ADMIN_PORT],
})
