import { createRequire } from 'node:module'
import type { Socket } from 'node:net'

interface Protocol {
  readonly request: { readonly apiName: string }
  readonly requestTimeout?: number
}
interface Connection {
  readonly broker: string
  readonly ssl?: object | boolean | null
  connectionTimeout: number
  socket?: Socket
  isConnected(): boolean
  connect(): Promise<unknown>
  send(protocol: Protocol): Promise<unknown>
}

const require = createRequire(import.meta.url)
const MOST_DOUBLINGS = 3

/** Number of times that the connection timeout is doubled now, by broker. */
const doublings = new Map<string, number>()

const changeDoublings = (broker: string, by: 1 | -1): void => {
  const changed = (doublings.get(broker) ?? 0) + by
  doublings.set(broker, Math.min(Math.max(changed, 0), MOST_DOUBLINGS))
}

/**
 * Gives a busy broker more time for TLS handshakes. kafkajs 2.2.4 always waits for the same time. A
 * handshake costs a broker several milliseconds of CPU, even if the client has given up. When many
 * clients connect again at once, each handshake may take longer than the timeout. The clients then
 * repeat their handshakes, so the broker stays busy.
 *
 * With this patch, the timeout of the handshake doubles each time that it expires, up to eightfold.
 * The same timeout applies to ApiVersions, the first request after the handshake. Each answer to
 * ApiVersions halves the timeout. All clients of the process share the state of a broker. A timeout
 * before the broker accepts the socket changes nothing. Kafka's Java client also waits longer after
 * each timeout (`socket.connection.setup.timeout.max.ms`).
 *
 * Must run before `patchConnection`, which lets concurrent calls share one attempt.
 */
export const patchHandshake = (): void => {
  const { prototype } = require('kafkajs/src/network/connection') as { prototype: Connection }
  const { connect, send } = prototype
  const configuredTimeouts = new WeakMap<Connection, number>()
  prototype.connect = async function () {
    if (!this.ssl || this.isConnected()) return connect.call(this)
    const configured = configuredTimeouts.get(this) ?? this.connectionTimeout
    configuredTimeouts.set(this, configured)
    this.connectionTimeout = configured * 2 ** (doublings.get(this.broker) ?? 0)
    const startMs = performance.now()
    const attempt = connect.call(this)
    let isAccepted = false
    this.socket?.once('connect', () => {
      isAccepted = true
    })
    try {
      return await attempt
    } catch (error) {
      // kafkajs reports a timeout in several ways. Timers can run up to 1 ms early.
      const isTimeout = performance.now() - startMs > this.connectionTimeout - 2
      if (isAccepted && isTimeout) changeDoublings(this.broker, 1)
      throw error
    }
  }
  prototype.send = async function (protocol) {
    if (!this.ssl || protocol.request.apiName !== 'ApiVersions') return send.call(this, protocol)
    try {
      const answer = await send.call(this, { ...protocol, requestTimeout: this.connectionTimeout })
      changeDoublings(this.broker, -1)
      return answer
    } catch (error) {
      if ((error as Error).name === 'KafkaJSRequestTimeoutError') changeDoublings(this.broker, 1)
      throw error
    }
  }
}
