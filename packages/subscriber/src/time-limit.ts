/**
 * Node's timers and Kafka's protocol have 32-bit integers. A time limit above this maximum would
 * end immediately.
 */
const MAX_LIMIT_MS = 2 ** 31 - 1

/** @throws RangeError if this option cannot be a time limit in milliseconds. */
export const checkTimeLimit = (option: string, limitMs: number): void => {
  if (!(typeof limitMs === 'number' && limitMs >= 1 && limitMs <= MAX_LIMIT_MS))
    throw new RangeError(`${option} is ${limitMs}, but must be from 1 to ${MAX_LIMIT_MS}`)
}

/** @throws RangeError if this option is not a positive integer. */
export const checkCount = (option: string, count: number): void => {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${option} is ${count}, not a positive integer`)
}

/**
 * Runs a function that may hang.
 * @param onTimeout called if the function takes longer than `limitMs`. Returns the error to throw.
 */
export const withTimeLimit = async <T>(limitMs: number, run: () => Promise<T>, onTimeout: () => Error): Promise<T> => {
  const timeout = Promise.withResolvers<never>()
  const timer = setTimeout(() => timeout.reject(onTimeout()), limitMs)
  try {
    return await Promise.race([run(), timeout.promise])
  } finally {
    clearTimeout(timer)
  }
}
