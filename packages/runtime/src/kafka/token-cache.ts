import type { BlockedReason } from '../process/blocked.ts'

/** A token for a login to Kafka, and the time for which it is valid. */
export interface Token {
  readonly value: string
  /** 0 if unknown. Each login then needs a new token. */
  readonly lifetimeMs: number
}

/** No token is available. The message contains no secret. */
export class TokenError extends Error {
  override readonly name = 'TokenError'
  /** Reason for which a person must act. Undefined if the cause is an outage. */
  readonly reason: BlockedReason | undefined
  /** Advice for the operator. */
  readonly hint: string

  constructor(message: string, { reason, hint }: { reason?: BlockedReason; hint: string }) {
    super(message)
    this.reason = reason
    this.hint = hint
  }
}

export interface TokenCache {
  /**
   * Returns a token that is valid for some time.
   * @throws TokenError if there is no valid token.
   */
  get(): Promise<string>
  /** Forgets a token that a broker has refused. */
  drop(value: string): void
}

/**
 * Minimum time between the renewal of a token and its expiry, if the lifetime of the token is long
 * enough. kafkajs logs in again 10 s before the expiry, and then needs the new token.
 */
const RENEWED_BEFORE_MS = 15_000
/** Pause between two requests for a token while the requests fail. */
const PAUSE_MS = { initial: 1000, longest: 15_000 }

/**
 * Keeps a token for all connections of a process. A token is renewed when a fifth of its lifetime
 * remains. If the renewal fails, the token is used until it expires. Failed requests are repeated
 * after a pause, because each connection asks for a token.
 */
export const createTokenCache = (fetchToken: () => Promise<Token>, now = () => performance.now()): TokenCache => {
  let current = { value: '', renewAt: 0, expiresAt: 0 }
  let failure = { error: new Error('no token yet'), until: 0 }
  let pauseMs = 0
  let running: Promise<string> | undefined

  const renew = async (): Promise<string> => {
    const asked = now()
    try {
      const { value, lifetimeMs } = await fetchToken()
      const renewedBefore = Math.max(lifetimeMs / 5, Math.min(RENEWED_BEFORE_MS, lifetimeMs / 2))
      current = { value, renewAt: asked + lifetimeMs - renewedBefore, expiresAt: asked + lifetimeMs }
      pauseMs = 0
      return value
    } catch (error) {
      pauseMs = Math.min(Math.max(pauseMs * 2, PAUSE_MS.initial), PAUSE_MS.longest)
      failure = { error: error as Error, until: now() + pauseMs }
      throw error
    } finally {
      running = undefined
    }
  }

  return {
    get: async () => {
      if (now() < current.renewAt) return current.value
      try {
        if (now() < failure.until) throw failure.error
        running ??= renew()
        return await running
      } catch (error) {
        if (now() < current.expiresAt) return current.value
        throw error
      }
    },
    drop: (value) => {
      if (current.value === value) current = { value: '', renewAt: 0, expiresAt: 0 }
    },
  }
}
