/**
 * Returns the broker's name of the error, e.g. `UNKNOWN_TOPIC_OR_PARTITION`. Looks for the broker's
 * error in the causes too, because kafkajs wraps that error after the last retry.
 */
export const errorType = (error: unknown): string | undefined => {
  const { type, cause } = error as { type?: string; cause?: unknown }
  return type ?? (cause === undefined || cause === null || cause === error ? undefined : errorType(cause))
}

/** Returns true if the error or one of its causes comes from a request to Kafka. */
export const isKafkaError = (error: unknown): boolean =>
  error instanceof Error && (error.name.startsWith('KafkaJS') || isKafkaError(error.cause))
