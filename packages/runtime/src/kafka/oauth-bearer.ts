import kafkajs, { type Mechanism } from 'kafkajs'
import type { TokenCache } from './token-cache.ts'

// kafkajs' types omit the message.
const LoginError = kafkajs.KafkaJSSASLAuthenticationError as new (message: string) => Error

/** Adds the length before the bytes, as in all SASL messages of kafkajs. */
const withLength = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/**
 * Logs in with a token (SASL OAUTHBEARER, RFC 7628). kafkajs' own login ignores the answer of the
 * broker. A broker answers a refused token with a text, and expects one more message before it
 * reports the error. kafkajs would treat the connection as logged in, and the next request would
 * fail without a reason.
 */
export const oauthBearer = (tokens: TokenCache): Mechanism => ({
  mechanism: 'OAUTHBEARER',
  authenticationProvider: ({ saslAuthenticate }) => ({
    authenticate: async () => {
      const token = await tokens.get()
      try {
        const refusal = await saslAuthenticate({
          request: { encode: () => withLength(`n,,\u0001auth=Bearer ${token}\u0001\u0001`) },
          response: { decode: (bytes) => bytes.subarray(4), parse: (bytes) => bytes.toString() },
        })
        if (refusal) throw new LoginError(`the broker refused the token: ${refusal.slice(0, 300)}`)
      } catch (error) {
        tokens.drop(token)
        throw error
      }
    },
  }),
})
