export interface RedisServer {
  readonly url: string
  /** May be called twice. */
  stop(): Promise<void>
  /** Hangs the server as a stopped machine would: connections stay open, nothing is answered. */
  pause(): Promise<void>
  resume(): Promise<void>
}

export interface RedisOptions {
  /** Flags of redis-server. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** One way to have servers that end with this process, however it ends. */
export interface Provider {
  readonly kind: 'docker' | 'local'
  /** Resolves with host:port when the broker takes requests. */
  startKafka(): Promise<string>
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /** Ends what was started, even where the start has not finished yet. May be called twice. */
  close(): Promise<void>
}
