import { createRequire } from 'node:module'

interface Request {
  readonly request: { readonly apiKey: number }
}
interface Connection {
  readonly requestQueue: { readonly enforceRequestTimeout: boolean }
  readonly versions: object | null
  isConnected(): boolean
  isAuthenticated(): boolean
  setVersions(versions: object | null): void
  getSupportAuthenticationProtocol(): boolean | null
  setSupportAuthenticationProtocol(isSupported: boolean | null): void
  connect(): Promise<unknown>
  send(request: Request): Promise<unknown>
}
interface ConnectionPool {
  /**
   * Connections to one broker. kafkajs uses the first connection for all requests except Fetch, and
   * the second connection for Fetch. This patch adds more connections.
   */
  readonly pool: Connection[]
  isConnected(): boolean
  isAuthenticated(): boolean
  send(request: Request): Promise<unknown>
}

const require = createRequire(import.meta.url)
const FETCH_CONNECTION = 1
const MAX_CONNECTIONS = 32

/**
 * Gives each concurrent Produce or Metadata request its own connection. kafkajs 2.2.4 sends all
 * produce requests for a broker over one connection. A broker handles the requests of one
 * connection one after another. So one slow partition (a follower that hangs) delays the requests
 * for all partitions of its leader. These requests and the next metadata request time out too.
 *
 * With this patch a Produce or Metadata request uses an idle connection or a new connection. A
 * client opens at most 32 connections to a broker. Further requests share these connections. Must
 * run before a client is created.
 */
export const patchProduceConnection = (): void => {
  const Connection = require('kafkajs/src/network/connection') as new (options: object) => Connection
  const { Produce, Metadata } = require('kafkajs/src/protocol/requests/apiKeys') as {
    Produce: number
    Metadata: number
  }
  const { prototype } = require('kafkajs/src/network/connectionPool') as { prototype: ConnectionPool }
  const { send } = prototype
  /** Number of Produce and Metadata requests in flight, by connection. */
  const underWay = new WeakMap<Connection, number>()
  const underWayOn = (connection: Connection) => underWay.get(connection) ?? 0

  const addTo = (pool: Connection[]): Connection => {
    const [first] = pool as [Connection]
    // A connection has each option as a property, so `{ ...first }` has the options for a new
    // connection.
    const added = new Connection({ ...first, enforceRequestTimeout: first.requestQueue.enforceRequestTimeout })
    added.setVersions(first.versions)
    added.setSupportAuthenticationProtocol(first.getSupportAuthenticationProtocol())
    pool.push(added)
    return added
  }

  prototype.send = async function (request) {
    const { apiKey } = request.request
    if (apiKey !== Produce && apiKey !== Metadata) return send.call(this, request)
    let connection = this.pool
      .filter((_, i) => i !== FETCH_CONNECTION)
      .reduce((least, each) => (underWayOn(each) < underWayOn(least) ? each : least))
    if (underWayOn(connection) > 0 && this.pool.length < MAX_CONNECTIONS) connection = addTo(this.pool)
    underWay.set(connection, underWayOn(connection) + 1)
    try {
      if (!connection.isConnected()) await connection.connect()
      return await connection.send(request)
    } finally {
      underWay.set(connection, underWayOn(connection) - 1)
    }
  }
  // Ignore added connections: an idle connection may look healthy although the broker no longer
  // answers on the first connection.
  prototype.isConnected = function () {
    return this.pool.slice(0, FETCH_CONNECTION + 1).some((each) => each.isConnected())
  }
  prototype.isAuthenticated = function () {
    return this.pool.slice(0, FETCH_CONNECTION + 1).some((each) => each.isAuthenticated())
  }
}
