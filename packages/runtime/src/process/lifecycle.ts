import closeWithGrace from 'close-with-grace'
import { SAME_SIGNAL_MS } from './command-line.ts'
import type { Logger } from './log.ts'
import { SettingsError } from './settings.ts'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

export interface Lifecycle {
  /**
   * Registers a part of the process with its stop function. Parts stop one after another, in
   * reverse order of registration.
   */
  onStop(part: string, stop: () => Promise<unknown> | unknown): void
  /**
   * Stops all parts in order and then ends the process with exit code 1, or with 2 for a
   * SettingsError.
   */
  fail(error: Error): void
}

/**
 * Ends a process with a graceful shutdown. The exit code is 0 after SIGTERM or SIGINT. After {@link
 * Lifecycle.fail} or an uncaught error, the exit code is 1, or 2 if a setting is wrong. A second
 * signal of a person, or a part that has not stopped at the deadline, ends the process immediately
 * with exit code 1.
 * @param deadlineMs time for all parts together. Must be less than the time that the supervisor
 *   waits before it kills the process (default of Kubernetes: 30 s).
 */
export const createLifecycle = ({ logger, deadlineMs }: { logger: Logger; deadlineMs: number }): Lifecycle => {
  let stopping = false
  const parts: { part: string; stop: () => Promise<unknown> | unknown }[] = []
  let failure: Error | undefined
  let firstSignal: { readonly signal: string; readonly at: number } | undefined

  const graceful = closeWithGrace(
    {
      delay: deadlineMs,
      // close-with-grace would end the process when npm repeats the signal.
      skip: [...SIGNALS],
      logger: {
        error: (error: unknown) => logger.error({ event: 'stop-failed', err: error }, 'a part failed to stop'),
      },
    },
    async ({ signal = firstSignal?.signal, err }) => {
      stopping = true
      failure ??= err
      if (failure) logger.fatal({ event: 'failed', err: failure }, 'stopping after a failure')
      else logger.info({ event: 'stopping', signal }, 'stopping')
      for (const { part, stop } of parts.toReversed()) {
        try {
          await stop()
        } catch (error) {
          failure ??= error as Error
          logger.error({ event: 'stop-failed', err: error, part }, 'a part failed to stop')
        }
      }
      // End the process here. If this function threw the failure, close-with-grace would log a
      // failed stop.
      if (failure) process.exit(failure instanceof SettingsError ? 2 : 1)
      logger.info({ event: 'stopped' }, 'stopped')
    },
  )

  // Close only once, because a second close() would run all stop functions again, in parallel.
  const close = () => {
    if (!stopping) graceful.close()
    stopping = true
  }
  for (const signal of SIGNALS)
    process.on(signal, () => {
      if (firstSignal && performance.now() - firstSignal.at > SAME_SIGNAL_MS) {
        logger.fatal({ event: 'failed', signal }, 'a second signal ends the process before all parts stopped')
        process.exit(1)
      }
      firstSignal ??= { signal, at: performance.now() }
      close()
    })

  return {
    onStop: (part, stop) => {
      parts.push({ part, stop })
    },
    fail: (error) => {
      failure ??= error
      close()
    },
  }
}
