import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { endOfAnswer, type HttpSender, openHttpSender, requestOf } from './http-sender.ts'

let server: Server
let sender: HttpSender
afterEach(() => {
  sender.close()
  server.close()
})
const open = async (listener: RequestListener) => {
  server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  sender = openHttpSender(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}
const request = requestOf({ secret: 'secret', token: 'token' }, '{"name":"Zoë"}')

describe('the sender of the load generator', () => {
  it('the HTTP sender sends the whole body in UTF-8 with its signature', async () => {
    const bodies: string[] = []
    await open(async (received, answer) => {
      bodies.push(Buffer.concat(await received.toArray()).toString(), String(received.headers['x-authorization-token']))
      answer.writeHead(202, { 'content-length': 0 }).end()
    })
    await sender.send(request)
    expect(bodies).toEqual(['{"name":"Zoë"}', 'token'])
  })

  it('the HTTP sender fails if the answer is an error, so that no refusal is measured', async () => {
    await open((_received, answer) => answer.writeHead(503, { 'content-length': 0 }).end())
    await expect(sender.send(request)).rejects.toThrow('503')
  })

  it('the HTTP sender fails if the connection closes before the answer', async () => {
    await open((received) => received.socket.destroy())
    await expect(sender.send(request)).rejects.toThrow()
  })

  it('the HTTP sender waits until it has the complete answer', () => {
    const head = 'HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\n'
    expect(['HTTP/1.1 202', head.slice(0, -1), head, `${head}abc`].map(endOfAnswer)).toEqual([-1, -1, -1, -1])
    expect(endOfAnswer(`${head}abcd`)).toBe(head.length + 4)
  })

  it('the HTTP sender reuses a connection for the next request', async () => {
    let connections = 0
    await open((_received, answer) => answer.writeHead(202, { 'content-length': 0 }).end())
    server.on('connection', () => {
      connections += 1
    })
    for (let i = 0; i < 3; i++) await sender.send(request)
    expect(connections).toBe(1)
  })

  it('the HTTP sender opens at most 256 connections, and sends further requests later', async () => {
    const { promise: full, resolve } = Promise.withResolvers<void>()
    let connections = 0
    await open(async (_received, answer) => {
      if (connections === 256) resolve()
      await full
      answer.writeHead(202, { 'content-length': 0 }).end()
    })
    server.on('connection', () => {
      connections += 1
    })
    await Promise.all(Array.from({ length: 300 }, () => sender.send(request)))
    expect(connections).toBe(256)
  })
})
