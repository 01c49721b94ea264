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
 * A broker of kafkajs 2.2.4 counts as connected as soon as its socket is, though it can be asked nothing before it has told which requests it knows. Where that
 * first answer does not come in time (a frozen broker, a half-open network), the socket stays, so that nobody asks again: every later request of this client
 * fails, unlogged, for as long as the process lives, also when the broker has long been well. And the client goes on asking that broker alone, since only a
 * connection that fails makes it turn to the next address. Here such a broker is not connected, and its silence is a connection that has failed.
 * Must run before a client is created.
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
      throw name === 'KafkaJSRequestTimeoutError' ? new kafkajs.KafkaJSConnectionError(message, { broker: this.brokerAddress }) : error
    }
  }
}
