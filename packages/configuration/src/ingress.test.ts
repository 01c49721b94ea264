import { loadSettings } from '@customer-stream/runtime'
import { describe, expect, it } from 'vitest'
import { checksOf, ingressRules, ingressSettings } from './ingress.ts'

const problems = (env: Record<string, string>): string[] => {
  try {
    loadSettings(ingressSettings, { KAFKA_BROKERS: 'a:1', MYKAARMA_AUTH: 'off', ...env }, ingressRules)
    return []
  } catch (error) {
    return (error as Error).message.split('\n').slice(1)
  }
}

it('the default settings are accepted', () => {
  expect(problems({})).toEqual([])
})

it.each([
  [
    'a shutdown too short for the requests in flight',
    { SHUTDOWN_DELAY_MS: '16000' },
    'SHUTDOWN_DEADLINE_MS must be at least',
    '15000',
  ],
  [
    'a shutdown too short for the last traces',
    { SHUTDOWN_DELAY_MS: '14500', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a:4318' },
    'SHUTDOWN_DEADLINE_MS must be at least',
    '14000',
  ],
  ['a queue too small for one body', { QUEUE_MAX_BYTES: '1048576' }, 'QUEUE_MAX_BYTES must be at least', '982000'],
  [
    'a body too large for the spool',
    { MAX_BODY_BYTES: '16777216', SPOOL_DIR: '/x' },
    'MAX_BODY_BYTES must be at most',
    '16711680',
  ],
  [
    'a memory for arriving bodies that is too small for one body',
    { RECEIVE_MAX_BYTES: '1048576', MAX_BODY_BYTES: '1048577' },
    'RECEIVE_MAX_BYTES must be at least',
    '1048576',
  ],
])('the settings of the ingress refuse %s, but accept a smaller value', (_, env, problem, fitting) => {
  const name = problem.startsWith('SHUTDOWN') ? 'SHUTDOWN_DELAY_MS' : 'MAX_BODY_BYTES'
  expect(problems(env as Record<string, string>)).toEqual([expect.stringContaining(problem)])
  expect(problems({ ...(env as Record<string, string>), [name]: fitting })).toEqual([])
})

it('one error lists settings that are invalid alone, and settings that do not fit together', () => {
  const env = {
    MYKAARMA_AUTH: 'signature+token',
    PORT: 'x',
    SHUTDOWN_DELAY_MS: '19000',
    MYKAARMA_TOKENS: 'main=t',
    QUEUE_MAX_BYTES: 'much',
  }
  // No rule that uses QUEUE_MAX_BYTES reports a problem, because the value itself is invalid.
  expect(problems(env)).toEqual([
    expect.stringContaining('PORT: "x" is not accepted'),
    expect.stringContaining('QUEUE_MAX_BYTES: "much" is not accepted'),
    expect.stringContaining('SHUTDOWN_DEADLINE_MS must be at least'),
    expect.stringContaining('MYKAARMA_SIGNING_SECRETS is missing'),
  ])
})

describe('MYKAARMA_AUTH', () => {
  const secrets = { MYKAARMA_SIGNING_SECRETS: 'main=s', MYKAARMA_TOKENS: 'main=t' } as const
  it.each([
    ['signature+token', { signature: true, token: true }],
    ['on', { signature: true, token: true }],
    ['signature', { signature: true, token: false }],
    ['token', { signature: false, token: true }],
    ['off', { signature: false, token: false }],
  ] as const)('MYKAARMA_AUTH=%s requires exactly the secrets for its checks', (auth, checks) => {
    expect(checksOf(auth)).toEqual(checks)
    const required = [checks.signature && 'MYKAARMA_SIGNING_SECRETS', checks.token && 'MYKAARMA_TOKENS'].filter(
      (name) => name !== false,
    )
    expect(problems({ MYKAARMA_AUTH: auth })).toEqual(
      required.map((name) => expect.stringContaining(`${name} is missing`)),
    )
    expect(
      problems({
        MYKAARMA_AUTH: auth,
        ...Object.fromEntries(required.map((name) => [name, secrets[name as keyof typeof secrets]])),
      }),
    ).toEqual([])
  })

  it('the default of MYKAARMA_AUTH is signature+token', () => {
    expect(loadSettings(ingressSettings, { KAFKA_BROKERS: 'a:1', ...secrets }, ingressRules).MYKAARMA_AUTH).toBe(
      'signature+token',
    )
  })
})
