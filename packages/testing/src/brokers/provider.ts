/** A server that a test can kill, and start again with the same address and data. */
export interface KillableServer {
  /**
   * Sends SIGKILL. Acknowledged writes survive, because they are in the memory of the operating
   * system.
   */
  kill(): Promise<void>
  /** Starts the server again. Resolves when the server accepts requests. */
  restart(): Promise<void>
}

export interface RedisServer extends KillableServer {
  readonly url: string
  /** May be called twice. */
  stop(): Promise<void>
  /**
   * Freezes the server. As with a hanging machine, connections stay open, and no request gets an
   * answer.
   */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Removes the data of a killed server, so that `restart` starts an empty server. */
  loseData(): Promise<void>
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

/**
 * Starts servers, which end when this process ends, even if this process is killed with SIGKILL.
 */
export interface Provider {
  readonly kind: 'docker' | 'local'
  /** Starts one broker. Resolves with the broker's host:port when the broker accepts requests. */
  startKafka(): Promise<string>
  /** Starts three replicating brokers. Each topic survives the loss of one broker. */
  startKafkaCluster(): Promise<readonly KafkaNode[]>
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /** Ends all servers, including servers that are still starting. May be called twice. */
  close(): Promise<void>
}
