import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * State of the network:
 * - `open`: forwards everything.
 * - `cut`: ends every connection, also each new one.
 * - `stalled`: keeps connections but forwards nothing (half-open, as after a cable is unplugged).
 * - `busy`: forwards open connections. New connections wait, as at a load balancer without a ready
 *   server.
 * - `{ delayMs }`: delays each chunk by this time, in each direction.
 * - `{ bytesPerSecond }`: limits the throughput of each connection, in each direction.
 */
export type NetworkState =
  | 'open'
  | 'cut'
  | 'stalled'
  | 'busy'
  | { readonly delayMs: number }
  | { readonly bytesPerSecond: number }

export interface TcpProxy {
  readonly port: number
  set(state: NetworkState): void
  close(): Promise<void>
}

/** Opens a TCP proxy that simulates the network between a client and its server. */
export const openTcpProxy = async (
  target: { readonly host: string; readonly port: number },
  port = 0,
): Promise<TcpProxy> => {
  let state: NetworkState = 'open'
  let changed = Promise.withResolvers<void>()
  const sockets = new Set<Socket>()

  /** Resolves when a chunk of this size may pass. A change of the state ends the wait. */
  const pass = async (bytes: number): Promise<void> => {
    for (let held = true; held; ) {
      const change = changed.promise.then(() => true)
      if (state === 'stalled') await change
      else if (typeof state !== 'object') held = false
      else {
        const ms = 'delayMs' in state ? state.delayMs : (bytes / state.bytesPerSecond) * 1000
        held = await Promise.race([sleep(ms, false, { ref: false }), change])
      }
    }
  }

  const forward = async (from: Socket, to: Socket): Promise<void> => {
    // Delay all chunks in parallel, like a network with a long delay, and keep their order.
    let previous: Promise<void> = Promise.resolve()
    for await (const piece of from) {
      const after = previous
      const mayPass = pass(piece.length)
      previous = (async () => {
        await Promise.all([after, mayPass])
        if (!to.destroyed && !to.write(piece)) await once(to, 'drain').catch(() => undefined)
      })()
      if (typeof state !== 'object' || 'bytesPerSecond' in state) await previous
    }
    await previous
    to.end()
  }

  const own = (socket: Socket): Socket => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => undefined)
    return socket.on('close', () => sockets.delete(socket))
  }

  const server = createServer(async (client) => {
    own(client)
    while (state === 'busy') await changed.promise
    if (state === 'cut' || client.destroyed) return client.destroy()
    const upstream = own(connect(target.port, target.host))
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      forward(from, to).catch(() => to.destroy())
    }
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const destroyAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    set: (next) => {
      state = next
      changed.resolve()
      changed = Promise.withResolvers()
      if (next === 'cut') destroyAll()
    },
    close: async () => {
      changed.resolve()
      state = 'open'
      destroyAll()
      server.close()
      await once(server, 'close')
    },
  }
}
