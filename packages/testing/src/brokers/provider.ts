/** A server that can be killed and started again at the same address with its data. */
export interface KillableServer {
  /**
   * Sends SIGKILL. Acknowledged writes survive, because they are in the memory of the operating
   * system.
   */
  kill(): Promise<void>
  /** Starts the server again. Resolves when it accepts requests. */
  restart(): Promise<void>
}

export interface RedisServer extends KillableServer {
  readonly url: string
  /** May be called twice. */
  stop(): Promise<void>
  /**
   * Stops the server, like a machine that hangs: connections stay open, and nothing is answered.
   */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Removes the data of a killed server. `restart` then starts it empty. */
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

/** A source of servers that end when this process ends, even if it is killed with SIGKILL. */
export interface Provider {
  readonly kind: 'docker' | 'local'
  /** Starts one broker. Resolves with its host:port when it accepts requests. */
  startKafka(): Promise<string>
  /** Starts three brokers that replicate. Each topic survives the loss of one broker. */
  startKafkaCluster(): Promise<readonly KafkaNode[]>
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /** Ends all servers, also servers that are still starting. May be called twice. */
  close(): Promise<void>
}
