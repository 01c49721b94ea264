/** What a broker called the error, e.g. `UNKNOWN_TOPIC_OR_PARTITION`. kafkajs hides it behind errors of its own when it gives up trying. */
export const errorType = (error: unknown): string | undefined => {
  const { type, cause } = error as { type?: string; cause?: unknown }
  return type ?? (cause === undefined || cause === null || cause === error ? undefined : errorType(cause))
}
