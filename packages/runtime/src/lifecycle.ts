import closeWithGrace from 'close-with-grace'
import type { Logger } from './log.ts'

export interface Lifecycle {
  /** Registers what ends a part; parts end in reverse order of registration, each after the one before has ended. */
  onStop(part: string, stop: () => Promise<unknown> | unknown): void
  /** Ends the process with exit code 1 after stopping in order. */
  fail(error: Error): void
}

/**
 * Ends a process in order: on SIGTERM or SIGINT with exit code 0, on {@link Lifecycle.fail} or an uncaught error with 1. What has not ended within the
 * deadline, or a second signal, ends it at once with 1.
 * @param deadlineMs for all parts together; below the time after which the supervisor kills (Kubernetes: 30 s).
 */
export const createLifecycle = ({ logger, deadlineMs }: { logger: Logger; deadlineMs: number }): Lifecycle => {
  let stopping = false
  const parts: { part: string; stop: () => Promise<unknown> | unknown }[] = []
  let failure: Error | undefined

  const graceful = closeWithGrace(
    {
      delay: deadlineMs,
      logger: { error: (error: unknown) => logger.error({ event: 'stop-failed', err: error }, 'could not stop in order') },
    },
    async ({ signal, err }) => {
      stopping = true
      failure ??= err
      if (failure) logger.fatal({ event: 'failed', err: failure }, 'stopping after a failure')
      else logger.info({ event: 'stopping', signal }, 'stopping')
      for (const { part, stop } of parts.toReversed()) {
        try {
          await stop()
        } catch (error) {
          failure ??= error as Error
          logger.error({ event: 'stop-failed', err: error, part }, 'could not stop in order')
        }
      }
      // close-with-grace knows only the failures that it was told of. Thrown to it, another would be logged as a failed stop.
      if (failure) process.exit(1)
      logger.info({ event: 'stopped' }, 'stopped')
    },
  )

  return {
    onStop: (part, stop) => {
      parts.push({ part, stop })
    },
    fail: (error) => {
      failure ??= error
      // A second close() would run all stops again beside the first.
      if (!stopping) graceful.close()
      stopping = true
    },
  }
}
