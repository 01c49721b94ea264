import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, type Server, Socket, connect as tcpConnect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { createAuthority } from '@customer-stream/testing/certificates'
import { expect, it, onTestFinished } from 'vitest'
import '../client.ts'

interface Connection {
  readonly connectionTimeout: number
  connect(): Promise<unknown>
  disconnect(): Promise<unknown>
}

const require = createRequire(import.meta.url)
const Connection = require('kafkajs/src/network/connection') as new (options: object) => Connection
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }

const TIMEOUT_MS = 100
const authority = createAuthority()

const portOf = async (server: Server): Promise<number> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** Starts a TLS server that begins each handshake late. Returns its port. */
const startBusyBroker = async (delayMs: number): Promise<number> => {
  const server = tls.createServer(authority.issue('broker', ['127.0.0.1']), (socket) => socket.on('error', () => {}))
  const port = await portOf(server)
  return portOf(
    createServer(async (client) => {
      client.on('error', () => {})
      await sleep(delayMs)
      const upstream = tcpConnect(port, '127.0.0.1').on('error', () => {})
      client.pipe(upstream).pipe(client)
    }),
  )
}

const connectionTo = (port: number, socketFactory: (options: { onConnect: () => void }) => Socket): Connection => {
  const connection = new Connection({
    ...{ host: '127.0.0.1', port, logger, socketFactory },
    ...{ ssl: true, connectionTimeout: TIMEOUT_MS, requestTimeout: 1000 },
  })
  onTestFinished(async () => void (await connection.disconnect()))
  return connection
}

it('a client connects to a broker whose TLS handshakes take longer than the timeout', async () => {
  const port = await startBusyBroker(3 * TIMEOUT_MS)
  const open = () =>
    connectionTo(port, ({ onConnect }) => tls.connect({ host: '127.0.0.1', port, ca: authority.ca }, onConnect))
  const [first, second, third] = [open(), open(), open()]
  await expect(first.connect()).rejects.toThrow('Connection')
  await expect(second.connect()).rejects.toThrow('Connection')
  // Four times the timeout may be too short on a busy machine.
  await third.connect().catch(() => third.connect())
  expect([first, second].map((each) => each.connectionTimeout)).toEqual([TIMEOUT_MS, 2 * TIMEOUT_MS])

  const waited = third.connectionTimeout
  await third.disconnect()
  await third.connect().catch(() => undefined)
  expect(third.connectionTimeout).toBe(waited / 2)
})

it('the timeout stays short for a broker that accepts no connection', async () => {
  const connection = connectionTo(1, () => new Socket())
  await expect(connection.connect()).rejects.toThrow('Connection')
  await expect(connection.connect()).rejects.toThrow('Connection')
  expect(connection.connectionTimeout).toBe(TIMEOUT_MS)
})
