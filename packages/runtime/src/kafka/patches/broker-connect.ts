import { createRequire } from 'node:module'
import kafkajs from 'kafkajs'

interface Broker {
  readonly versions: object | null
  readonly brokerAddress: string
  isConnected(): boolean
  connect(): Promise<void>
  disconnect(): Promise<void>
}

const require = createRequire(import.meta.url)

/**
 * Makes kafkajs treat a broker as connected only after the broker has answered ApiVersions. This
 * first request of a connection asks which requests the broker knows. No other request works before
 * ApiVersions is answered.
 *
 * kafkajs 2.2.4 treats a broker as connected as soon as its socket is connected. If the first
 * answer does not come in time (a frozen broker, a half-open network), two things go wrong:
 * - The socket stays open, so ApiVersions is never sent again. Every later request of this client
 *   fails without a log line until the process ends, even after the broker has recovered.
 * - The client asks only this broker, because kafkajs tries the next address only after a failed
 *   connection.
 *
 * With this patch a broker that does not answer in time is disconnected, and the error is a
 * connection error. Must run before a client is created.
 */
export const patchBrokerConnect = (): void => {
  const { prototype } = require('kafkajs/src/broker') as { prototype: Broker }
  const { isConnected, connect } = prototype
  prototype.isConnected = function () {
    return this.versions !== null && isConnected.call(this)
  }
  prototype.connect = async function () {
    try {
      await connect.call(this)
    } catch (error) {
      if (this.versions !== null) throw error
      await this.disconnect()
      const { name, message } = error as Error
      throw name === 'KafkaJSRequestTimeoutError'
        ? new kafkajs.KafkaJSConnectionError(message, { broker: this.brokerAddress })
        : error
    }
  }
}
