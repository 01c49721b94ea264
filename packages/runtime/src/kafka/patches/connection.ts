import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { noteAnswer, noteFailedRequest } from '../failed-request.ts'

interface Connection {
  readonly broker: string
  readonly ssl?: object | boolean | null
  readonly sasl?: object | null
  socket?: Socket
  /** Parts of an incomplete reply that have arrived. */
  chunks: Buffer[]
  bytesBuffered: number
  bytesNeeded: number
  isConnected(): boolean
  connect(): Promise<unknown>
  disconnect(): Promise<unknown>
  send(protocol: { readonly request: { readonly apiName: string } }): Promise<unknown>
  processData(data: Buffer): void
}

const require = createRequire(import.meta.url)
const LENGTH_BYTES = 4

/**
 * Gives each new socket of a connection a clean state, and destroys each useless socket. A
 * connection of kafkajs 2.2.4 that fails does not recover, even with a new socket:
 * - If a broker dies while it sends a reply, kafkajs keeps the first part of the reply. Then
 *   kafkajs appends the data of the next socket to this part. Every later request fails, or an
 *   invalid length ends the process.
 * - kafkajs treats late data of an abandoned socket as data of the new socket.
 * - A caller that disconnects also closes a socket that another caller is opening to the same
 *   broker. The other caller then waits until the connection timeout has passed.
 * - A request that times out leaves its socket open. If a firewall has silently dropped the
 *   connection, every request fails until the kernel closes the socket after about 15 minutes.
 * - Two callers that connect at the same time open two sockets. The first socket is never closed.
 * - Each call of `disconnect` adds a listener to a dead socket, so Node warns of a leak in each
 *   outage.
 *
 * Must run before a client is created.
 */
export const patchConnection = (): void => {
  const { prototype } = require('kafkajs/src/network/connection') as { prototype: Connection }
  const { connect, disconnect, send, processData } = prototype
  const connecting = new WeakMap<Connection, Promise<unknown>>()
  prototype.connect = function () {
    const underWay = connecting.get(this)
    if (underWay) return underWay
    if (!this.isConnected()) Object.assign(this, { chunks: [], bytesBuffered: 0, bytesNeeded: LENGTH_BYTES })
    const attempt = connect.call(this).finally(() => connecting.delete(this))
    connecting.set(this, attempt)
    return attempt
  }
  prototype.disconnect = async function () {
    const { socket } = this
    const wasConnected = this.isConnected()
    // kafkajs calls `unref` next. On a destroyed socket, `unref` would add a listener that is never
    // removed.
    if (socket?.destroyed) socket.unref = () => socket
    const disconnected = await disconnect.call(this)
    socket?.destroy(wasConnected ? undefined : new Error('given up while connecting'))
    return disconnected
  }
  prototype.processData = function (data) {
    try {
      processData.call(this, data)
    } catch (error) {
      this.socket?.destroy(error as Error)
    }
  }
  prototype.send = async function (protocol) {
    const { socket } = this
    const { broker } = this
    const api = protocol.request.apiName
    try {
      const answer = await send.call(this, protocol)
      noteAnswer(api, { broker, tls: Boolean(this.ssl), login: Boolean(this.sasl) })
      return answer
    } catch (error) {
      noteFailedRequest(error, { api, broker })
      if ((error as Error).name === 'KafkaJSRequestTimeoutError') socket?.destroy(error as Error)
      throw error
    }
  }
}
