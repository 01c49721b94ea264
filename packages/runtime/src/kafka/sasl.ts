import type { KafkaConfig, SASLOptions } from 'kafkajs'
import { signToken } from './aws-msk-iam.ts'
import { oauthBearer } from './oauth-bearer.ts'
import type { KafkaSettings } from './settings.ts'
import { createTokenCache, type Token, type TokenCache } from './token-cache.ts'

/** Loads the code of the token endpoint only if a token is needed. */
const fetchToken = async (settings: KafkaSettings): Promise<Token> =>
  (await import('./token-endpoint.ts')).fetchToken(settings)

/** Token cache by settings, so that all clients of a process share one token. */
const caches = new WeakMap<KafkaSettings, TokenCache>()

const tokensOf = (settings: KafkaSettings): TokenCache => {
  const fetch = settings.KAFKA_SASL_MECHANISM === 'aws-msk-iam' ? signToken : fetchToken
  const cache = caches.get(settings) ?? createTokenCache(() => fetch(settings))
  caches.set(settings, cache)
  return cache
}

/** Returns kafkajs' options for the login. */
export const saslOf = (settings: KafkaSettings): KafkaConfig['sasl'] => {
  const mechanism = settings.KAFKA_SASL_MECHANISM
  if (mechanism === 'none') return undefined
  if (mechanism === 'oauthbearer' || mechanism === 'aws-msk-iam') return oauthBearer(tokensOf(settings))
  // Use getters, so that each login uses the user and password that the settings have at that time.
  return {
    mechanism,
    get username() {
      return settings.KAFKA_SASL_USERNAME ?? ''
    },
    get password() {
      return settings.KAFKA_SASL_PASSWORD ?? ''
    },
  } as SASLOptions
}
