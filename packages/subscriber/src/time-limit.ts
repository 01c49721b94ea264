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
