import { createRegistry } from '@customer-stream/runtime/service'
import { sign } from '@customer-stream/simulator'
import { expect, it } from 'vitest'
import { createIngressMetrics } from '../metrics.ts'
import { authenticateWith } from './current-secrets.ts'

const body = Buffer.from('{}')
const secretsOf = (...names: string[]) => new Map(names.map((name) => [name, `secret-${name}`]))
const credentials = (name: string) => ({ signature: sign(body.toString(), `secret-${name}`), token: 'token' })

it('an old and a new secret are accepted until the old secret is removed', async () => {
  const registry = createRegistry('test')
  const { authenticated } = createIngressMetrics(registry, {
    size: () => ({ records: 0, bytes: 0 }),
    spoolSize: () => undefined,
    isolated: () => ({ failing: 0, slow: 0 }),
  })
  const settings = {
    MYKAARMA_AUTH: 'signature+token' as const,
    MYKAARMA_SIGNING_SECRETS: secretsOf('old'),
    MYKAARMA_TOKENS: new Map([['main', 'token']]),
  }
  const authenticate = authenticateWith(settings, authenticated)
  expect(authenticate?.(body, credentials('new'))).toHaveProperty('failedCheck')
  settings.MYKAARMA_SIGNING_SECRETS = secretsOf('old', 'new')
  expect(authenticate?.(body, credentials('old'))).toEqual({ secret: 'old', token: 'main' })
  expect(authenticate?.(body, credentials('new'))).toEqual({ secret: 'new', token: 'main' })
  settings.MYKAARMA_SIGNING_SECRETS = secretsOf('new')
  expect(authenticate?.(body, credentials('old'))).toHaveProperty('failedCheck')
  expect((await authenticated.get()).values.map(({ labels }) => labels.secret)).toEqual(['old', 'new'])
})
