import { createRequire } from 'node:module'
import { noteFailedRequest } from '../failed-request.ts'
import { TokenError } from '../token-cache.ts'

interface Connection {
  readonly broker: string
  readonly sasl: { readonly mechanism: string; readonly username?: string; readonly password?: string }
  send(request: object): Promise<unknown>
  sendAuthRequest(request: object): Promise<unknown>
}
interface Authenticator {
  connection: Connection
  authenticate(): Promise<void>
}

const require = createRequire(import.meta.url)

/**
 * Pauses after a refused login. A user directory, such as LDAP, usually locks an account after
 * about five failed logins. Most directories count the failures of the last half hour. Some
 * directories count only the failures of the last minute.
 */
const PAUSE_MS = { initial: 5000, longest: 60_000 }

/** State of the logins of one account. */
interface Account {
  /**
   * Last login in the queue. Logins run one after another until a login succeeds. Otherwise every
   * client of the process would log in before the first refusal arrives.
   */
  turn: Promise<unknown>
  proven: boolean
  failure?: unknown
  pauseMs: number
  retryAt: number
}

const accounts = new Map<string, Account>()

/** Forgets the state of all accounts. Only tests call this function. */
export const forgetLogins = (): void => accounts.clear()

/**
 * Limits how often a refused login is repeated. kafkajs 2.2.4 logs in again whenever a client needs
 * a connection. Each client would send a wrong password to each broker several times a second. The
 * user directory would then lock the account.
 *
 * With this patch all clients of the process share the state of an account. After a refusal no
 * login is sent for 5 s. The pause doubles with each further refusal, up to 60 s. Logins during the
 * pause fail with the error of the last refusal. Connections that are already logged in continue.
 * Must run before a client is created.
 */
export const patchLogin = (): void => {
  const { prototype } = require('kafkajs/src/broker/saslAuthenticator') as { prototype: Authenticator }
  const { authenticate } = prototype
  prototype.authenticate = async function () {
    const { connection } = this
    const { broker, sasl } = connection
    // A changed password counts as another account, so that the next login needs no pause.
    const name = `${sasl.mechanism} ${sasl.username} ${sasl.password}`
    const account = accounts.get(name) ?? { turn: Promise.resolve(), proven: false, pauseMs: 0, retryAt: 0 }
    accounts.set(name, account)
    const attempt = async () => {
      if (performance.now() < account.retryAt) throw account.failure
      // kafkajs' SCRAM code reports every failure during a login as a refusal, even a broken
      // connection.
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
        // No login was sent, because there is no token. Requests for a token have their own pauses.
        if (error instanceof TokenError) throw error
        noteFailedRequest(error, { api: 'SaslAuthenticate', broker })
        // Several logins may run at the same time. Only the first failure makes the pause longer.
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
