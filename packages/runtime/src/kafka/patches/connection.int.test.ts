import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import '../client.ts'

interface Connection {
  readonly socket: Socket
  connect(): Promise<void>
  disconnect(): Promise<void>
  send(request: object): Promise<Buffer>
}

const require = createRequire(import.meta.url)
const Connection = require('kafkajs/src/network/connection') as new (options: object) => Connection
const Encoder = require('kafkajs/src/protocol/encoder') as new () => object
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }

const replyTo = (request: Buffer): Buffer => {
  // Bytes 8 to 11 of a request are its correlation id. The reply has a length, this id and a text.
  const reply = Buffer.alloc(12)
  reply.writeInt32BE(8, 0)
  request.copy(reply, 4, 8, 12)
  reply.write('pong', 8)
  return reply
}

/**
 * Timeout of the requests on the connection. kafkajs uses a request's own timeout only if that
 * timeout is longer.
 */
const SHORT_TIMEOUT_MS = 200

/**
 * Starts a fake broker, whose n-th request is handled by the n-th function of `answers`. Returns
 * the options of a connection to this broker.
 */
const optionsOf = async (...answers: ((socket: Socket, request: Buffer) => void)[]) => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (request) => answers.shift()?.(socket, request))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  onTestFinished(() => void server.close())
  return {
    host: '127.0.0.1',
    port,
    logger,
    clientId: 'test',
    socketFactory: ({ onConnect }: { onConnect: () => void }) => connect({ host: '127.0.0.1', port }, onConnect),
    connectionTimeout: 60_000,
    requestTimeout: SHORT_TIMEOUT_MS,
    enforceRequestTimeout: true,
  }
}
const connectionTo = async (...answers: ((socket: Socket, request: Buffer) => void)[]): Promise<Connection> => {
  const connection = new Connection(await optionsOf(...answers))
  onTestFinished(async () => void (await connection.disconnect()))
  await connection.connect()
  return connection
}
const ask = async (connection: Pick<Connection, 'send'>, apiKey = 18, requestTimeout = 60_000) =>
  String(
    await connection.send({
      request: { apiKey, apiVersion: 0, apiName: 'Ping', encode: async () => new Encoder() },
      response: { decode: async (payload: Buffer) => payload, parse: async (payload: Buffer) => payload },
      requestTimeout,
    }),
  )
const answer = (socket: Socket, request: Buffer) => socket.write(replyTo(request))
const reset = (socket: Socket) => socket.resetAndDestroy()
/**
 * Sends a request that must fail. Resolves with the name of the error when kafkajs has discarded
 * the socket.
 */
const askAndFail = (connection: Connection, requestTimeout?: number) =>
  ask(connection, 18, requestTimeout).then(
    () => expect.fail('an answer came'),
    ({ name }: Error) => name,
  )

it.each([2, 9])('a reset connection drops the %i bytes of its incomplete reply', async (bytes) => {
  const connection = await connectionTo(
    (socket, request) => socket.write(replyTo(request).subarray(0, bytes), () => setTimeout(reset, 20, socket)),
    answer,
    answer,
  )
  expect(await askAndFail(connection)).toBe('KafkaJSConnectionError')
  await connection.connect()
  expect([await ask(connection), await ask(connection)]).toEqual(['pong', 'pong'])
})

it('an unreadable reply closes the socket, and does not end the process', async () => {
  const connection = await connectionTo((socket) => socket.write(Buffer.from([0, 0, 0, 1, 0])), answer)
  expect(await askAndFail(connection)).toBe('KafkaJSConnectionError')
  await connection.connect()
  expect(await ask(connection)).toBe('pong')
})

it('after a request has timed out, the next request uses a new socket', async () => {
  const sockets = new Set<Socket>()
  const connection = await connectionTo(
    (socket) => sockets.add(socket),
    (socket, request) => {
      sockets.add(socket)
      answer(socket, request)
    },
  )
  expect(await askAndFail(connection, SHORT_TIMEOUT_MS)).toBe('KafkaJSRequestTimeoutError')
  await once([...sockets][0]!, 'close')
  await connection.connect()
  expect(await ask(connection)).toBe('pong')
  expect(sockets.size).toBe(2)
})

it('a disconnect ends a concurrent connect with an error, before the connection timeout', {
  timeout: 10_000,
}, async () => {
  const connection = await connectionTo()
  await connection.disconnect()
  const connecting = connection.connect()
  await connection.disconnect()
  await expect(connecting).rejects.toThrow('given up while connecting')
})

it('repeated disconnects add no listener to a dead socket', async () => {
  const connection = await connectionTo(reset)
  const { socket } = connection
  await askAndFail(connection)
  for (let i = 0; i < 20; i++) await connection.disconnect()
  expect(socket.listenerCount('connect')).toBe(0)
})

it('two calls of connect at the same time open only one socket', async () => {
  const options = await optionsOf(answer)
  const socketFactory = vi.fn(options.socketFactory)
  const connection = new Connection({ ...options, socketFactory })
  onTestFinished(async () => void (await connection.disconnect()))
  await Promise.all([connection.connect(), connection.connect(), connection.connect()])
  expect(socketFactory).toHaveBeenCalledOnce()
  expect(await ask(connection)).toBe('pong')
})

describe('the connections to one broker', () => {
  interface Pool {
    isConnected(): boolean
    destroy(): Promise<void>
    send(request: object): Promise<Buffer>
  }
  const ConnectionPool = require('kafkajs/src/network/connectionPool') as new (options: object) => Pool
  const { Produce, Metadata, ListOffsets } = require('kafkajs/src/protocol/requests/apiKeys') as Record<string, number>
  /** Creates a connection pool, and records the socket number of each request in `cameOn`. */
  const setUp = async (...answers: ((socket: Socket, request: Buffer) => void)[]) => {
    const sockets: Socket[] = []
    const cameOn: number[] = []
    const noted = answers.map((each) => (socket: Socket, request: Buffer) => {
      if (!sockets.includes(socket)) sockets.push(socket)
      cameOn.push(sockets.indexOf(socket))
      each(socket, request)
    })
    const options = await optionsOf(...noted)
    const socketFactory = vi.fn(options.socketFactory)
    const pool = new ConnectionPool({ ...options, socketFactory })
    onTestFinished(() => pool.destroy())
    return { pool, cameOn, socketFactory }
  }

  it('concurrent produce and metadata requests each use their own connection', async () => {
    const first = Promise.withResolvers<() => void>()
    const { pool, cameOn } = await setUp(
      (socket, request) => first.resolve(() => answer(socket, request)),
      answer,
      answer,
      answer,
    )
    const slow = ask(pool, Produce)
    const answerFirst = await first.promise
    expect([await ask(pool, Produce), await ask(pool, Metadata)]).toEqual(['pong', 'pong'])
    answerFirst()
    expect([await slow, await ask(pool, Produce)]).toEqual(['pong', 'pong'])
    expect(cameOn).toEqual([0, 1, 1, 0])
  })

  it('a pool opens at most 31 connections in addition to the connection for Fetch', async () => {
    const answerAll = (socket: Socket, requests: Buffer) => {
      for (let at = 0; at < requests.length; at += 4 + requests.readInt32BE(at)) answer(socket, requests.subarray(at))
    }
    const { pool, socketFactory } = await setUp(...Array.from({ length: 40 }, () => answerAll))
    const answers = await Promise.all(Array.from({ length: 40 }, () => ask(pool, Produce)))
    expect([new Set(answers), socketFactory.mock.calls.length]).toEqual([new Set(['pong']), 31])
  })

  it('a broker that is silent on the first connection counts as disconnected', async () => {
    const { pool } = await setUp(() => undefined, answer)
    const silent = ask(pool, Produce, SHORT_TIMEOUT_MS).catch(({ name }: Error) => name)
    expect(await ask(pool, Produce)).toBe('pong')
    expect(await silent).toBe('KafkaJSRequestTimeoutError')
    while (pool.isConnected()) await new Promise(setImmediate)
  })

  it('requests that do not overlap use the first connection', async () => {
    const { pool, cameOn } = await setUp(answer, answer, answer)
    await ask(pool, ListOffsets)
    await ask(pool, Produce)
    await ask(pool, ListOffsets)
    expect(cameOn).toEqual([0, 0, 0])
  })
})
