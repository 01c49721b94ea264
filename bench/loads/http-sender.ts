import { connect, type Socket } from 'node:net'
import { sign } from '@customer-stream/simulator'
import type { Pipeline } from '@customer-stream/testing'

/** Returns a signed request as bytes, so that a load generator only writes bytes. */
export const requestOf = ({ secret, token }: Pick<Pipeline, 'secret' | 'token'>, body: string): Buffer =>
  Buffer.from(
    `POST /webhooks/mykaarma HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nmykaarma-signature-token: ${sign(body, secret)}\r\n` +
      `x-authorization-token: ${token}\r\n\r\n${body}`,
  )

/**
 * Returns the end of the first complete answer, or -1 if there is none. The answer must have a
 * Content-Length.
 */
export const endOfAnswer = (text: string): number => {
  const body = text.indexOf('\r\n\r\n') + 4
  if (body < 4) return -1
  const end = body + Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1])
  return text.length >= end ? end : -1
}

export interface HttpSender {
  /**
   * Resolves when the answer is 200 or 202. Rejects if another answer comes, or if the connection
   * breaks.
   */
  send(request: Buffer): Promise<void>
  close(): void
}

/**
 * Maximum number of open connections. Further requests wait. Must be below the setting
 * MAX_CONNECTIONS of the ingress, which refuses more connections.
 */
const MAX_CONNECTIONS = 256

/** Sends one request over an idle connection. */
const exchange = (socket: Socket, request: Buffer): Promise<void> =>
  new Promise((resolve, reject) => {
    let answer = ''
    const end = (error?: Error) => {
      socket.off('data', read).off('error', end).off('close', closed)
      if (error) reject(error)
      else resolve()
    }
    const closed = () => end(new Error('the server closed the connection'))
    const read = (text: string) => {
      answer += text
      if (endOfAnswer(answer) < 0) return
      end(/^HTTP\/1\.1 20[02]/.test(answer) ? undefined : new Error(`answered ${answer.split('\r\n')[0]}`))
    }
    socket.on('data', read).on('error', end).on('close', closed)
    socket.write(request)
  })

/**
 * Creates a client that sends each request immediately, over an idle or a new keep-alive
 * connection. Node's own client needs five times as much CPU, and so would slow down the server on
 * the same machine.
 */
export const openHttpSender = (serverUrl: string): HttpSender => {
  const { hostname, port } = new URL(serverUrl)
  const sockets = new Set<Socket>()
  const free = new Set<Socket>()
  const waiting: ((socket: Socket) => void)[] = []
  const open = (): Socket => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true }).setEncoding('latin1')
    sockets.add(socket)
    // Remove a closed connection. The server closes connections that are idle for long.
    return socket.on('close', () => sockets.delete(socket) && free.delete(socket)).on('error', () => undefined)
  }
  /**
   * Returns the connection that has been idle for the longest time. Otherwise some connections
   * would be idle for so long that the server closes them.
   */
  const take = (): Socket | Promise<Socket> => {
    const [socket] = free
    if (socket) free.delete(socket)
    else if (sockets.size >= MAX_CONNECTIONS) return new Promise((resolve) => waiting.push(resolve))
    return socket ?? open()
  }
  return {
    send: async (request) => {
      const socket = await take()
      await exchange(socket, request)
      const next = waiting.shift()
      if (next) next(socket)
      else free.add(socket)
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}
