/**
 * Collects the reveals of streams, because a log line for each event of each stream would need more
 * work than the event itself. If the process is killed, the lines of the last second are lost.
 */
export interface RevealLog {
  add(key: string, customerUuids: readonly string[]): void
  /** Logs all collected reveals. */
  flush(): void
}

const MAX_WAIT_MS = 1000
/** Maximum number of customers in one log line. */
const MAX_CUSTOMERS = 100

/** @param log logs a line with the customers that streams of an API key have shown. */
export const createRevealLog = (log: (key: string, customerUuids: readonly string[]) => void): RevealLog => {
  const collected = new Map<string, Set<string>>()
  let timer: NodeJS.Timeout | undefined
  const write = (key: string, customerUuids: ReadonlySet<string>) => {
    collected.delete(key)
    log(key, [...customerUuids])
  }
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    for (const [key, customerUuids] of collected) write(key, customerUuids)
  }
  return {
    add: (key, customerUuids) => {
      for (const customerUuid of customerUuids) {
        const customers = collected.get(key) ?? new Set()
        collected.set(key, customers.add(customerUuid))
        if (customers.size >= MAX_CUSTOMERS) write(key, customers)
      }
      if (collected.size > 0) timer ??= setTimeout(flush, MAX_WAIT_MS)
    },
    flush,
  }
}
