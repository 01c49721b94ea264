export interface GivenAddresses {
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
}

/**
 * Returns the addresses of running brokers from the services' settings KAFKA_BROKERS and REDIS_URL.
 * Undefined if both settings are missing. Throws if only one of the two settings is set.
 */
export const givenAddresses = ({ KAFKA_BROKERS, REDIS_URL }: NodeJS.ProcessEnv): GivenAddresses | undefined => {
  if (!KAFKA_BROKERS && !REDIS_URL) return undefined
  if (!KAFKA_BROKERS || !REDIS_URL) {
    const [set, missing] = KAFKA_BROKERS ? ['KAFKA_BROKERS', 'REDIS_URL'] : ['REDIS_URL', 'KAFKA_BROKERS']
    throw new Error(
      `${set} is set but ${missing} is not: set both to use running brokers, or neither to have them started.`,
    )
  }
  return { kafkaBrokers: KAFKA_BROKERS.split(',').map((broker) => broker.trim()), redisUrl: REDIS_URL }
}
