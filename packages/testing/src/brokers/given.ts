export interface GivenAddresses {
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
}

/** Brokers that run already, by the settings the services themselves are given. */
export const givenAddresses = ({ KAFKA_BROKERS, REDIS_URL }: NodeJS.ProcessEnv): GivenAddresses | undefined => {
  if (!KAFKA_BROKERS && !REDIS_URL) return undefined
  if (!KAFKA_BROKERS || !REDIS_URL) {
    const [set, missing] = KAFKA_BROKERS ? ['KAFKA_BROKERS', 'REDIS_URL'] : ['REDIS_URL', 'KAFKA_BROKERS']
    throw new Error(`${set} is set but ${missing} is not: set both to use running brokers, or neither to have them started.`)
  }
  return { kafkaBrokers: KAFKA_BROKERS.split(',').map((broker) => broker.trim()), redisUrl: REDIS_URL }
}
