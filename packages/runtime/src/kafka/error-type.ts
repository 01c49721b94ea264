/**
 * Returns the broker's name of the error, e.g. `UNKNOWN_TOPIC_OR_PARTITION`. After its last retry,
 * kafkajs wraps the broker's error in one of its own.
 */
export const errorType = (error: unknown): string | undefined => {
  const { type, cause } = error as { type?: string; cause?: unknown }
  return type ?? (cause === undefined || cause === null || cause === error ? undefined : errorType(cause))
}
