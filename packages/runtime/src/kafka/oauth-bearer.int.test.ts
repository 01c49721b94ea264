import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type SecuredBrokers,
  startSecuredBrokers,
  startTokenServer,
  type TokenServer,
  unsignedToken,
} from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import { silentLogger } from '@customer-stream/testing/vitest'
import kafkajs from 'kafkajs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { signToken } from './aws-msk-iam.ts'
import { createAdmin, createDiagnose, createKafka, kafkaRules, kafkaSettings, type TopicAdmin } from './index.ts'
import { oauthBearer } from './oauth-bearer.ts'
import { forgetLogins } from './patches/login.ts'
import { createTokenCache } from './token-cache.ts'

let brokers: SecuredBrokers
let endpoint: TokenServer
const admins: TopicAdmin[] = []
beforeAll(async () => {
  brokers = await startSecuredBrokers()
}, 90_000)
afterAll(() => brokers?.stop())
beforeEach(async () => {
  forgetLogins()
  endpoint = await startTokenServer()
})
afterEach(async () => {
  for (const admin of admins.splice(0)) await admin.disconnect()
  await endpoint.close()
})

const listener = () => ({
  KAFKA_BROKERS: brokers.kafka.addresses.oauth,
  KAFKA_SSL: 'true',
  KAFKA_SSL_CA: brokers.kafka.authority.ca,
})
const clientOf = (env: Readonly<Record<string, string>> = {}) => {
  const settings = loadSettings(
    kafkaSettings,
    {
      ...listener(),
      KAFKA_SASL_MECHANISM: 'oauthbearer',
      KAFKA_SASL_OAUTH_TOKEN_URL: endpoint.url,
      KAFKA_SASL_OAUTH_CLIENT_ID: 'ingress',
      KAFKA_SASL_OAUTH_CLIENT_SECRET: 'p@ss:word',
      KAFKA_SASL_OAUTH_SCOPE: 'kafka write',
      ...env,
    },
    kafkaRules,
  )
  const open = () => {
    const admin = createAdmin(createKafka(settings, { clientId: 'test', logger: silentLogger }))
    admins.push(admin)
    return admin
  }
  return { open, diagnose: createDiagnose(settings) }
}
const attempt = async (env?: Readonly<Record<string, string>>) => {
  const { open, diagnose } = clientOf(env)
  return open()
    .connect()
    .then(
      () => 'connected',
      (error: unknown) => diagnose(error, 'connect'),
    )
}
const json = (status: number, body: object) => (response: ServerResponse) => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

describe('a login by OAUTHBEARER', () => {
  it('all Kafka clients share one OAuth token, requested with the credentials and scope', async () => {
    const { open } = clientOf()
    const [first, second] = [open(), open()]
    await Promise.all([first.connect(), second.connect()])
    expect(await first.fetchTopicOffsets('none').catch((error: { type?: string }) => error.type)).toBe(
      'TOPIC_AUTHORIZATION_FAILED',
    )
    expect(endpoint.requests).toEqual([
      { client: 'ingress:p%40ss%3Aword', parameters: { grant_type: 'client_credentials', scope: 'kafka write' } },
    ])
  })

  it('a token endpoint is trusted if KAFKA_SASL_OAUTH_CA has its authority', async () => {
    const authority = createAuthority()
    const secure = await startTokenServer({ certificate: authority.issue('tokens', ['127.0.0.1']) })
    const url = { KAFKA_SASL_OAUTH_TOKEN_URL: secure.url }
    expect(await attempt({ ...url, KAFKA_SASL_OAUTH_CA: authority.ca })).toBe('connected')
    expect(await attempt(url)).toMatchObject({ reason: 'tls', message: expect.stringContaining('KAFKA_SASL_OAUTH_CA') })
    await secure.close()
  })

  it('a Kafka client continues with a new token after its first token has expired', { timeout: 60_000 }, async () => {
    await endpoint.close()
    endpoint = await startTokenServer({ lifetimeSeconds: 24 })
    const { open } = clientOf()
    const admin = open()
    await admin.connect()
    for (const end = performance.now() + 30_000; performance.now() < end; await sleep(500)) {
      expect(await admin.fetchTopicOffsets('none').catch((error: { type?: string }) => error.type)).toBe(
        'TOPIC_AUTHORIZATION_FAILED',
      )
    }
    expect(endpoint.requests.length).toBeGreaterThan(1)
    expect(endpoint.requests.length).toBeLessThan(5)
  })
})

describe('a token endpoint that gives no token', () => {
  // The last form is base64 of `ingress:p%40ss%3Aword`, the value of the header Authorization.
  const secret = /p@ss|p%40ss|cEBzczp3b3Jk|aW5ncmVzczpwJTQwc3MlM0F3b3Jk/

  it.each<[string, (response: ServerResponse) => void, object, RegExp]>([
    [
      'refuses the client',
      json(401, { error: 'invalid_client', error_description: 'no such secret: p@ss:word' }),
      { blocked: true, reason: 'authentication' },
      /refused the client \(HTTP 401, invalid_client: no such secret: …\).*KAFKA_SASL_OAUTH_CLIENT_SECRET/s,
    ],
    [
      'names the secret as the error code',
      json(401, { error: 'p@ss:word', error_description: 'not p%40ss%3Aword, aW5ncmVzczpwJTQwc3MlM0F3b3Jk\u001b[2J' }),
      { blocked: true, reason: 'authentication' },
      /refused the client \(HTTP 401, …: not …, …\[2J\)/,
    ],
    [
      'refuses the client without an explanation',
      (response) => void response.writeHead(401).end(),
      { blocked: true, reason: 'authentication' },
      /refused the client \(HTTP 401\).*KAFKA_SASL_OAUTH_CLIENT_SECRET/s,
    ],
    [
      'answers HTML',
      (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Login</html>'),
      { blocked: true, reason: 'authentication' },
      /answered without a token \(HTTP 200, text\/html\).*KAFKA_SASL_OAUTH_TOKEN_URL/s,
    ],
    [
      'answers damaged JSON',
      (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"access_token":'),
      { blocked: true, reason: 'authentication' },
      /answered without a token.*KAFKA_SASL_OAUTH_TOKEN_URL/s,
    ],
    [
      'answers JSON without a token',
      json(200, { token: 'x' }),
      { blocked: true, reason: 'authentication' },
      /answered without a token.*KAFKA_SASL_OAUTH_TOKEN_URL/s,
    ],
    [
      'does not know the path',
      (response) => void response.writeHead(404).end(),
      { blocked: true, reason: 'authentication' },
      /HTTP 404.*KAFKA_SASL_OAUTH_TOKEN_URL/s,
    ],
    [
      'answers HTTP 503',
      (response) => void response.writeHead(503).end('<html>busy</html>'),
      { blocked: false, reason: 'outage' },
      /cannot answer now \(HTTP 503\).*keeps trying/s,
    ],
    [
      'closes the connection',
      (response) => void response.destroy(),
      { blocked: false, reason: 'outage' },
      /does not answer \(ECONNRESET\).*keeps trying/s,
    ],
    [
      'switches to another protocol',
      (response) => void response.socket?.end('HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
      { blocked: false, reason: 'outage' },
      /does not answer \(it closed the connection without an answer\).*keeps trying/s,
    ],
    ['hangs', () => {}, { blocked: false, reason: 'outage' }, /did not answer in time.*keeps trying/s],
    [
      'sends without end',
      (response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.write(Buffer.alloc(300 * 1024, ' '))
      },
      { blocked: false, reason: 'outage' },
      /does not answer \(the answer has more than \d+ bytes\)/,
    ],
  ])('the diagnosis names the token endpoint if it %s', async (_, answer, kind, words) => {
    endpoint.answerWith(answer)
    const diagnosis = await attempt({ KAFKA_CONNECTION_TIMEOUT_MS: '300' })
    expect(diagnosis).toMatchObject({ ...kind, message: expect.stringMatching(words) })
    expect(JSON.stringify(diagnosis)).not.toMatch(secret)
    expect(endpoint.requests.length).toBeLessThan(5)
  })

  it('the diagnosis names the token endpoint if nothing listens at its address', async () => {
    expect(await attempt({ KAFKA_SASL_OAUTH_TOKEN_URL: 'http://127.0.0.1:1/' })).toMatchObject({
      blocked: false,
      message: expect.stringMatching(/127\.0\.0\.1:1\/ does not answer \(ECONNREFUSED\)/),
    })
  })

  it('after a refusal, a client asks the token endpoint again, and connects with the new token', async () => {
    endpoint.answerWith(json(401, { error: 'invalid_client' }))
    const { open } = clientOf()
    await expect(open().connect()).rejects.toThrow()
    endpoint.answerWith(undefined)
    await expect
      .poll(
        () =>
          open()
            .connect()
            .then(() => 'connected', String),
        { timeout: 15_000 },
      )
      .toBe('connected')
  })
})

it('the diagnosis says that the brokers do not accept the token', async () => {
  endpoint.answerWith(json(200, { access_token: 'no-json-web-token', token_type: 'bearer', expires_in: 60 }))
  expect(await attempt()).toMatchObject({
    blocked: true,
    reason: 'authentication',
    message: expect.stringMatching(/refused the login of client "ingress" \(OAUTHBEARER\).*do not accept the token/s),
  })
})

describe('AWS MSK IAM', () => {
  it('the login uses the token that the AWS package has signed', async () => {
    const signer = async () => ({
      generateAuthToken: async () => ({ token: unsignedToken('role', 900), expiryTime: Date.now() + 900_000 }),
    })
    const tokens = createTokenCache(() => signToken({ KAFKA_SASL_AWS_REGION: 'eu-west-1' }, signer))
    const admin = new kafkajs.Kafka({
      brokers: [brokers.kafka.addresses.oauth],
      ssl: { ca: brokers.kafka.authority.ca },
      sasl: oauthBearer(tokens),
    }).admin()
    await admin.connect()
    await admin.disconnect()
  })

  it('the diagnosis names the AWS package that cannot be loaded', async () => {
    const settings = loadSettings(kafkaSettings, {
      ...listener(),
      KAFKA_SASL_MECHANISM: 'aws-msk-iam',
      KAFKA_SASL_AWS_REGION: 'eu-west-1',
    })
    const admin = createAdmin(createKafka(settings, { clientId: 'test', logger: silentLogger }))
    const failure = await admin.connect().catch((error: unknown) => createDiagnose(settings)(error, 'connect'))
    expect(failure).toMatchObject({ blocked: true, message: expect.stringContaining('npm install aws-msk-iam-sasl') })
  })
})
