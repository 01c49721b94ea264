import { checksOf, type IngressSettings } from '@customer-stream/configuration'
import { startAtZero } from '@customer-stream/runtime/service'
import type { IngressMetrics } from '../metrics.ts'
import { type Authenticate, createAuthenticate } from './authenticate.ts'

type SecretSettings = Pick<IngressSettings, 'MYKAARMA_AUTH' | 'MYKAARMA_SIGNING_SECRETS' | 'MYKAARMA_TOKENS'>

/**
 * Returns a function that authenticates a request. The function reads the secrets and tokens from
 * the settings at each request, because the file of a secret may change. Undefined if MYKAARMA_AUTH
 * is off.
 */
export const authenticateWith = (
  settings: SecretSettings,
  counter: IngressMetrics['authenticated'],
): Authenticate | undefined => {
  const checked = checksOf(settings.MYKAARMA_AUTH)
  const current = () => ({
    secrets: checked.signature ? settings.MYKAARMA_SIGNING_SECRETS : undefined,
    tokens: checked.token ? settings.MYKAARMA_TOKENS : undefined,
  })
  const prepare = () => {
    const { secrets, tokens } = current()
    startAtZero(counter, {
      secret: [...(secrets?.keys() ?? ['none'])],
      token: [...(tokens?.keys() ?? ['none'])],
    })
    return { secrets, tokens, authenticate: createAuthenticate({ secrets, tokens }) }
  }
  let prepared = prepare()
  if (!checked.signature && !checked.token) return undefined
  const { requiredHeaders } = prepared.authenticate
  return Object.assign(
    (...request: Parameters<Authenticate>) => {
      const { secrets, tokens } = current()
      if (secrets !== prepared.secrets || tokens !== prepared.tokens) prepared = prepare()
      return prepared.authenticate(...request)
    },
    {
      requiredHeaders,
      senderOf: (token: string | undefined) => prepared.authenticate.senderOf(token),
    },
  )
}
