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
  /** The first connection is for all requests but Fetch, the second is for Fetch. Others are added here. */
  readonly pool: Connection[]
  isConnected(): boolean
  isAuthenticated(): boolean
  send(request: Request): Promise<unknown>
}

const require = createRequire(import.meta.url)
const FETCH_CONNECTION = 1
const MAX_CONNECTIONS = 32

/**
 * kafkajs 2.2.4 sends all produce requests for a broker over one connection, and a broker begins with a request only when it has answered the one before
 * it on the same connection. So a partition that is slow or fails (a follower that hangs) delays the requests for all other partitions of its leader until
 * these time out as well, and with them the next metadata request. Here a Produce or Metadata request takes a connection that has none of these under way.
 * There are as many connections as there were requests at once; beyond 32 they are shared. Must run before a client is created.
 */
export const patchProduceConnection = (): void => {
  const Connection = require('kafkajs/src/network/connection') as new (options: object) => Connection
  const { Produce, Metadata } = require('kafkajs/src/protocol/requests/apiKeys') as { Produce: number; Metadata: number }
  const { prototype } = require('kafkajs/src/network/connectionPool') as { prototype: ConnectionPool }
  const { send } = prototype
  /** Numbers of Produce and Metadata requests under way. */
  const underWay = new WeakMap<Connection, number>()
  const underWayOn = (connection: Connection) => underWay.get(connection) ?? 0

  const addTo = (pool: Connection[]): Connection => {
    const [first] = pool as [Connection]
    // A connection keeps its options under their own names.
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
  // An idle connection that was added says nothing about a broker that has stopped to answer on the first.
  prototype.isConnected = function () {
    return this.pool.slice(0, FETCH_CONNECTION + 1).some((each) => each.isConnected())
  }
  prototype.isAuthenticated = function () {
    return this.pool.slice(0, FETCH_CONNECTION + 1).some((each) => each.isAuthenticated())
  }
}
