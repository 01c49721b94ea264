import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import './client.ts'

interface Connection {
  connect(): Promise<void>
  disconnect(): Promise<void>
  send(request: object): Promise<Buffer>
}

const require = createRequire(import.meta.url)
const Connection = require('kafkajs/src/network/connection') as new (options: object) => Connection
const Encoder = require('kafkajs/src/protocol/encoder') as new () => object
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }

const replyTo = (request: Buffer): Buffer => {
  // Length, api key, api version, correlation id.
  const reply = Buffer.alloc(12)
  reply.writeInt32BE(8, 0)
  request.copy(reply, 4, 8, 12)
  reply.write('pong', 8)
  return reply
}

/** A connection to a broker that answers each request in turn as it is told. */
const connectionTo = async (...answers: ((socket: Socket, request: Buffer) => void)[]): Promise<Connection> => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (request) => answers.shift()?.(socket, request))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const options = {
    host: '127.0.0.1',
    port,
    logger,
    clientId: 'test',
    socketFactory: ({ onConnect }: { onConnect: () => void }) => connect({ host: '127.0.0.1', port }, onConnect),
    connectionTimeout: 60_000,
    requestTimeout: 200,
    enforceRequestTimeout: true,
  }
  const connection = new Connection(options)
  onTestFinished(async () => {
    await connection.disconnect()
    server.close()
  })
  await connection.connect()
  return connection
}
const ask = async (connection: Connection) =>
  String(
    await connection.send({
      request: { apiKey: 18, apiVersion: 0, apiName: 'Ping', encode: async () => new Encoder() },
      response: { decode: async (payload: Buffer) => payload, parse: async (payload: Buffer) => payload },
    }),
  )
const answer = (socket: Socket, request: Buffer) => socket.write(replyTo(request))
const reset = (socket: Socket) => socket.resetAndDestroy()
/** Resolves when kafkajs has learnt that its socket is of no use. */
const askInVain = (connection: Connection) =>
  ask(connection).then(
    () => expect.fail('an answer came'),
    ({ name }: Error) => name,
  )

it.each([2, 9])('forgets the %i bytes of a reply that were there when the connection was reset', async (bytes) => {
  const connection = await connectionTo(
    (socket, request) => socket.write(replyTo(request).subarray(0, bytes), () => setTimeout(reset, 20, socket)),
    answer,
    answer,
  )
  expect(await askInVain(connection)).toBe('KafkaJSConnectionError')
  await connection.connect()
  expect([await ask(connection), await ask(connection)]).toEqual(['pong', 'pong'])
})

it('takes a reply that cannot be read for the end of its socket, not of the process', async () => {
  const connection = await connectionTo((socket) => socket.write(Buffer.from([0, 0, 0, 1, 0])), answer)
  expect(await askInVain(connection)).toBe('KafkaJSConnectionError')
  await connection.connect()
  expect(await ask(connection)).toBe('pong')
})

it('gives up a socket on which no reply comes, so that the next request gets a new one', async () => {
  const sockets = new Set<Socket>()
  const connection = await connectionTo(
    (socket) => sockets.add(socket),
    (socket, request) => {
      sockets.add(socket)
      answer(socket, request)
    },
  )
  expect(await askInVain(connection)).toBe('KafkaJSRequestTimeoutError')
  await once([...sockets][0]!, 'close')
  await connection.connect()
  expect(await ask(connection)).toBe('pong')
  expect(sockets.size).toBe(2)
})

it('tells at once who connects that another has given the broker up, where kafkajs lets him wait for the whole time-out', {
  timeout: 10_000,
}, async () => {
  const connection = await connectionTo()
  await connection.disconnect()
  const connecting = connection.connect()
  await connection.disconnect()
  await expect(connecting).rejects.toThrow('given up while connecting')
})
