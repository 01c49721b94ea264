import { createRequire } from 'node:module'
import { noteFailedRequest } from './failed-request.ts'

interface Connection {
  readonly broker: string
  readonly sasl: { readonly mechanism: string; readonly username?: string }
  send(request: object): Promise<unknown>
  sendAuthRequest(request: object): Promise<unknown>
}
interface Authenticator {
  connection: Connection
  authenticate(): Promise<void>
}

const require = createRequire(import.meta.url)

/** A lock after five failures within half an hour is usual in directories; one within a minute is not. */
const PAUSE_MS = { initial: 5000, longest: 60_000 }

/** What is known of the logins of one account. */
interface Account {
  /** One at a time until one has succeeded: else every client of the process would fail before the first failure is known. */
  turn: Promise<unknown>
  proven: boolean
  failure?: unknown
  pauseMs: number
  retryAt: number
}

const accounts = new Map<string, Account>()

/** Forgets what is known of accounts. For tests. */
export const forgetLogins = (): void => accounts.clear()

/**
 * kafkajs 2.2.4 logs in again whenever something needs a connection: a refused password would be sent by each producer, consumer and admin client to each broker, several times
 * a second, and directories lock accounts over that. Here all clients of the process share what is known of an account. After a refusal no login is sent for 5 s,
 * then for twice as long each time, up to 60 s. Attempts within that time fail with the last refusal. Connections that are logged in go on.
 * Must run before a client is created.
 */
export const patchLogin = (): void => {
  const { prototype } = require('kafkajs/src/broker/saslAuthenticator') as { prototype: Authenticator }
  const { authenticate } = prototype
  prototype.authenticate = async function () {
    const { connection } = this
    const { broker, sasl } = connection
    const name = `${sasl.mechanism} ${sasl.username}`
    const account = accounts.get(name) ?? { turn: Promise.resolve(), proven: false, pauseMs: 0, retryAt: 0 }
    accounts.set(name, account)
    const attempt = async () => {
      if (performance.now() < account.retryAt) throw account.failure
      // SCRAM makes a refusal of everything that fails while it logs in, a broken connection included.
      let brokenBy: unknown
      const send = async (request: object) => {
        try {
          return await connection.send(request)
        } catch (error) {
          if ((error as { type?: string }).type === undefined) brokenBy = error
          throw error
        }
      }
      this.connection = Object.assign(Object.create(connection) as Connection, {
        send,
        sendAuthRequest: (request: object) => connection.sendAuthRequest(request),
      })
      try {
        await authenticate.call(this)
        Object.assign(account, { proven: true, failure: undefined, pauseMs: 0, retryAt: 0 })
      } catch (error) {
        if (brokenBy !== undefined) throw brokenBy
        noteFailedRequest(error, { api: 'SaslAuthenticate', broker })
        // Several logins may be under way side by side: the first failure counts.
        if (performance.now() >= account.retryAt)
          account.pauseMs = Math.min(Math.max(account.pauseMs * 2, PAUSE_MS.initial), PAUSE_MS.longest)
        Object.assign(account, { proven: false, failure: error, retryAt: performance.now() + account.pauseMs })
        throw error
      }
    }
    if (account.proven) return attempt()
    const mine = account.turn.then(attempt)
    account.turn = mine.catch(() => undefined)
    return mine
  }
}
