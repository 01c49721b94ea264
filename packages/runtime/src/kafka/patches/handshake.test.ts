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
  send(request: object): Promise<unknown>
}

const require = createRequire(import.meta.url)
const Connection = require('kafkajs/src/network/connection') as new (options: object) => Connection
const Encoder = require('kafkajs/src/protocol/encoder') as new () => object
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }

const TIMEOUT_MS = 250
const authority = createAuthority()

const portOf = async (server: Server): Promise<number> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/**
 * Starts a TLS server that begins each handshake late. Returns its port.
 * @param onRequest gets each request. The default answers no request.
 */
const startBusyBroker = async (
  delayMs: number,
  onRequest: (socket: Socket, request: Buffer) => void = () => {},
): Promise<number> => {
  const server = tls.createServer(authority.issue('broker', ['127.0.0.1']), (socket) => {
    socket.on('error', () => {}).on('data', (request) => onRequest(socket, request))
  })
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
    host: '127.0.0.1',
    port,
    logger,
    socketFactory,
    ssl: true,
    connectionTimeout: TIMEOUT_MS,
    requestTimeout: TIMEOUT_MS,
    enforceRequestTimeout: true,
  })
  onTestFinished(async () => void (await connection.disconnect()))
  return connection
}
const tlsConnectionTo = (port: number): Connection =>
  connectionTo(port, ({ onConnect }) => tls.connect({ host: '127.0.0.1', port, ca: authority.ca }, onConnect))

const askForVersions = (connection: Connection) =>
  connection.send({
    request: { apiKey: 18, apiVersion: 0, apiName: 'ApiVersions', encode: async () => new Encoder() },
    response: { decode: async (payload: Buffer) => payload, parse: async (payload: Buffer) => payload },
    requestTimeout: TIMEOUT_MS,
  })

it('a client connects to a broker whose TLS handshakes take longer than the timeout', async () => {
  const port = await startBusyBroker(3 * TIMEOUT_MS)
  const [first, second, third] = [tlsConnectionTo(port), tlsConnectionTo(port), tlsConnectionTo(port)]
  await expect(first.connect()).rejects.toThrow('Connection')
  await expect(second.connect()).rejects.toThrow('Connection')
  // The third attempt has four times the timeout. On a busy machine this may be too short, and then
  // the next attempt connects.
  await third.connect().catch(() => third.connect())
  expect([first, second].map((each) => each.connectionTimeout)).toEqual([TIMEOUT_MS, 2 * TIMEOUT_MS])
})

it('the timeout doubles if a broker does not answer ApiVersions, and halves after an answer', async () => {
  let isSilent = true
  const port = await startBusyBroker(0, (socket, request) => {
    // The reply has a length, and the correlation id of the request.
    const reply = Buffer.alloc(12)
    reply.writeInt32BE(8, 0)
    request.copy(reply, 4, 8, 12)
    if (!isSilent) socket.write(reply)
  })
  const open = async () => {
    const connection = tlsConnectionTo(port)
    await connection.connect()
    return connection
  }
  await expect(askForVersions(await open())).rejects.toThrow('timed out')
  isSilent = false
  const second = await open()
  await askForVersions(second)
  expect([second, await open()].map((each) => each.connectionTimeout)).toEqual([2 * TIMEOUT_MS, TIMEOUT_MS])
})

it('the timeout stays short for a broker that accepts no connection', async () => {
  const connection = connectionTo(1, () => new Socket())
  await expect(connection.connect()).rejects.toThrow('Connection')
  await expect(connection.connect()).rejects.toThrow('Connection')
  expect(connection.connectionTimeout).toBe(TIMEOUT_MS)
})
