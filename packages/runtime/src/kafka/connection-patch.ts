import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { noteAnswer, noteFailedRequest } from './failed-request.ts'

interface Connection {
  readonly broker: string
  readonly ssl?: object | boolean | null
  readonly sasl?: object | null
  socket?: Socket
  /** What has come of a reply that is not whole yet. */
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
 * A connection of kafkajs 2.2.4 that has gone wrong stays wrong, also over a new socket:
 * - Half a reply that a broker's death has cut off is kept, and what the next socket brings is appended to it: every later request fails, or the process ends over
 *   a length that is none.
 * - What a socket given up still brings is taken for the new one's.
 * - Who gives a broker up, closes the socket that another caller has meanwhile opened to it; that one then waits for the whole of the connection time-out.
 * - A request without a reply leaves its socket open. Where the network has silently forgotten it, every request fails until the kernel gives it up, in
 *   a quarter of an hour.
 * - Two callers that connect at the same time open two sockets. The first one is never closed.
 * - Each call of `disconnect` adds a listener to a socket that is dead, so that Node warns of a leak in each outage.
 * Here each socket begins with nothing, and one that is of no use is destroyed. Must run before a client is created.
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
    // A dead socket has no handle. Node lets each `unref`, which kafkajs calls here, wait for it to connect.
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
      noteAnswer({ broker, api, tls: Boolean(this.ssl), login: Boolean(this.sasl) })
      return answer
    } catch (error) {
      noteFailedRequest(error, { api, broker })
      if ((error as Error).name === 'KafkaJSRequestTimeoutError') socket?.destroy(error as Error)
      throw error
    }
  }
}
