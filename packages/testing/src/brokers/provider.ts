/** A server that can be killed and started again in its place, with its data. */
export interface KillableServer {
  /** SIGKILL: what was acknowledged is in the system's memory and survives. */
  kill(): Promise<void>
  /** Resolves when the server takes requests. */
  restart(): Promise<void>
}

export interface RedisServer extends KillableServer {
  readonly url: string
  /** May be called twice. */
  stop(): Promise<void>
  /** Hangs the server as a stopped machine would: connections stay open, nothing is answered. */
  pause(): Promise<void>
  resume(): Promise<void>
}

export interface KafkaNode extends KillableServer {
  readonly id: number
  /** host:port */
  readonly address: string
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
  /** Three brokers that replicate: each topic survives the loss of one. */
  startKafkaCluster(): Promise<readonly KafkaNode[]>
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /** Ends what was started, even where the start has not finished yet. May be called twice. */
  close(): Promise<void>
}
