import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import './client.ts'

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
  // Length, api key, api version, correlation id.
  const reply = Buffer.alloc(12)
  reply.writeInt32BE(8, 0)
  request.copy(reply, 4, 8, 12)
  reply.write('pong', 8)
  return reply
}

/** The options of a connection to a broker that answers each request in turn as it is told. */
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
    requestTimeout: 200,
    enforceRequestTimeout: true,
  }
}
const connectionTo = async (...answers: ((socket: Socket, request: Buffer) => void)[]): Promise<Connection> => {
  const connection = new Connection(await optionsOf(...answers))
  onTestFinished(async () => void (await connection.disconnect()))
  await connection.connect()
  return connection
}
const ask = async (connection: Pick<Connection, 'send'>, apiKey = 18) =>
  String(
    await connection.send({
      request: { apiKey, apiVersion: 0, apiName: 'Ping', encode: async () => new Encoder() },
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

it('adds no listener to a dead socket, however often it is given up', async () => {
  const connection = await connectionTo(reset)
  const { socket } = connection
  await askInVain(connection)
  for (let i = 0; i < 20; i++) await connection.disconnect()
  expect(socket.listenerCount('connect')).toBe(0)
})

it('opens one socket for all that connect at the same time', async () => {
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
  /** A pool of them, and the number of the socket that each request came on. */
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

  it('carry a produce or metadata request each: a broker answers those on one connection one after the other', async () => {
    const first = Promise.withResolvers<() => void>()
    const { pool, cameOn } = await setUp((socket, request) => first.resolve(() => answer(socket, request)), answer, answer, answer)
    const slow = ask(pool, Produce)
    const answerFirst = await first.promise
    expect([await ask(pool, Produce), await ask(pool, Metadata)]).toEqual(['pong', 'pong'])
    answerFirst()
    expect([await slow, await ask(pool, Produce)]).toEqual(['pong', 'pong'])
    expect(cameOn).toEqual([0, 1, 1, 0])
  })

  it('are 31 at most beside that for Fetch, each with one socket, however many requests come at once', async () => {
    const answerAll = (socket: Socket, requests: Buffer) => {
      for (let at = 0; at < requests.length; at += 4 + requests.readInt32BE(at)) answer(socket, requests.subarray(at))
    }
    const { pool, socketFactory } = await setUp(...Array.from({ length: 40 }, () => answerAll))
    const answers = await Promise.all(Array.from({ length: 40 }, () => ask(pool, Produce)))
    expect([new Set(answers), socketFactory.mock.calls.length]).toEqual([new Set(['pong']), 31])
  })

  it('say nothing of a broker that does not answer on the first, while another is idle', async () => {
    const { pool } = await setUp(() => undefined, answer)
    const silent = ask(pool, Produce).catch(({ name }: Error) => name)
    expect(await ask(pool, Produce)).toBe('pong')
    expect(await silent).toBe('KafkaJSRequestTimeoutError')
    while (pool.isConnected()) await new Promise(setImmediate)
  })

  it('are the same for all other requests', async () => {
    const { pool, cameOn } = await setUp(answer, answer, answer)
    await ask(pool, ListOffsets)
    await ask(pool, Produce)
    await ask(pool, ListOffsets)
    expect(cameOn).toEqual([0, 0, 0])
  })
})
