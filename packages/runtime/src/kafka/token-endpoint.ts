import { request as requestHttps } from 'node:https'
import {
  allowInsecureRequests,
  type ClientCredentialsGrantRequestOptions,
  ClientSecretBasic,
  clientCredentialsGrantRequest,
  customFetch,
  processClientCredentialsResponse,
  ResponseBodyError,
} from 'oauth4webapi'
import { nodeHttp } from '../process/node-http.ts'
import type { KafkaSettings } from './settings.ts'
import { type Token, TokenError } from './token-cache.ts'

/** Maximum size of a token response, which usually has a few kilobytes. */
const MAX_RESPONSE_BYTES = 256 * 1024

interface Sent {
  readonly method?: string | undefined
  readonly headers: Record<string, string>
  readonly body?: unknown
  readonly signal?: AbortSignal | undefined
}

/** Sends a request. Unlike Node's `fetch`, this function can trust a private authority. */
const send = (
  url: string,
  { method = 'GET', headers, body, signal }: Sent,
  ca: string | undefined,
): Promise<Response> =>
  new Promise((resolve, reject) => {
    const request = url.startsWith('https:') ? requestHttps : nodeHttp().request
    const options = { method, headers, ...(signal && { signal }), ...(ca !== undefined && { ca }), agent: false }
    const onClose = () => reject(new Error('it closed the connection without an answer'))
    const sent = request(url, options, async (received) => {
      sent.off('close', onClose)
      try {
        const chunks: Buffer[] = []
        let bytes = 0
        for await (const chunk of received as AsyncIterable<Buffer>) {
          bytes += chunk.length
          if (bytes > MAX_RESPONSE_BYTES) throw new Error(`the answer has more than ${MAX_RESPONSE_BYTES} bytes`)
          chunks.push(chunk)
        }
        const { statusCode = 0, headers: fields } = received
        const contentType = fields['content-type']
        const answered = {
          status: statusCode,
          ...(contentType !== undefined && { headers: { 'content-type': contentType } }),
        }
        const hasNoBody = statusCode === 204 || statusCode === 304
        resolve(new Response(hasNoBody ? null : Buffer.concat(chunks), answered))
      } catch (error) {
        reject(error)
      }
    })
    sent.on('error', reject)
    // After an answer with HTTP 101, Node emits neither `response` nor `error`.
    sent.on('close', onClose)
    sent.end(body === undefined || body === null ? undefined : String(body))
  })

const tlsCodes = /^(ERR_TLS_|ERR_SSL_|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|EPROTO)/

const CHECK_CLIENT = 'Check KAFKA_SASL_OAUTH_CLIENT_ID, KAFKA_SASL_OAUTH_CLIENT_SECRET and KAFKA_SASL_OAUTH_SCOPE.'
const refused = { reason: 'authentication', hint: CHECK_CLIENT } as const
const outage = { hint: 'If this lasts, check KAFKA_SASL_OAUTH_TOKEN_URL.' }

const withoutAnswer = (error: NodeJS.ErrnoException, endpoint: string): TokenError => {
  const { code = '', name, message, cause } = error
  if ([name, (cause as Error | undefined)?.name].includes('TimeoutError'))
    return new TokenError(`${endpoint} did not answer in time`, outage)
  if (tlsCodes.test(code))
    return new TokenError(`TLS to ${endpoint} failed (${code})`, {
      reason: 'tls',
      hint: 'Check KAFKA_SASL_OAUTH_CA, and the host name in KAFKA_SASL_OAUTH_TOKEN_URL.',
    })
  if (code === 'ENOTFOUND')
    return new TokenError(`${endpoint} has a host name that does not exist (ENOTFOUND)`, {
      reason: 'address',
      hint: 'Check KAFKA_SASL_OAUTH_TOKEN_URL.',
    })
  return new TokenError(`${endpoint} does not answer (${code || message})`, outage)
}

/** Control characters could change the terminal of a command. */
const CONTROL = /\p{Cc}/gu

/**
 * Returns the endpoint's error text. Removes the secret, plain or encoded.
 * @param basic base64 text of the header Authorization: `id:secret`, both percent-encoded.
 */
const wordsOf = ({ error, error_description = '' }: ResponseBodyError, secret: string, basic: string): string => {
  const sent = Buffer.from(basic, 'base64').toString().split(':').at(-1) ?? ''
  const base64 = (text: string) => Buffer.from(text).toString('base64').replace(/=+$/, '')
  const forms = [secret, sent, encodeURIComponent(secret), base64(secret), base64(sent), basic.replace(/=+$/, '')]
  const said = [error, error_description].filter((text) => text !== '').join(': ')
  return forms
    .filter((form) => form !== '')
    .reduce((text, form) => text.replaceAll(form, '…'), said)
    .replaceAll(CONTROL, '')
    .slice(0, 300)
}

/** Explains an error without the body of the answer, which may have a token. */
const explain = (
  error: unknown,
  { url, secret, basic, answer }: { url: string; secret: string; basic: string; answer: Response | undefined },
): TokenError => {
  const { origin, pathname } = new URL(url)
  const endpoint = `the token endpoint ${origin}${pathname}`
  if (answer === undefined) return withoutAnswer(error as NodeJS.ErrnoException, endpoint)
  const { status } = answer
  if (status === 429 || status >= 500) return new TokenError(`${endpoint} cannot answer now (HTTP ${status})`, outage)
  if (error instanceof ResponseBodyError)
    return new TokenError(`${endpoint} refused the client (HTTP ${status}, ${wordsOf(error, secret, basic)})`, refused)
  if (status === 401 || status === 403)
    return new TokenError(`${endpoint} refused the client (HTTP ${status})`, refused)
  const type = answer.headers.get('content-type') ?? 'no content type'
  return new TokenError(`${endpoint} answered without a token (HTTP ${status}, ${type})`, {
    reason: 'authentication',
    hint: 'Check KAFKA_SASL_OAUTH_TOKEN_URL.',
  })
}

/**
 * Requests a token with client credentials (RFC 6749, section 4.4).
 * @throws TokenError with the setting to check.
 */
export const fetchToken = async (settings: KafkaSettings): Promise<Token> => {
  const url = settings.KAFKA_SASL_OAUTH_TOKEN_URL ?? ''
  const secret = settings.KAFKA_SASL_OAUTH_CLIENT_SECRET ?? ''
  const client = { client_id: settings.KAFKA_SASL_OAUTH_CLIENT_ID ?? '' }
  const scope = settings.KAFKA_SASL_OAUTH_SCOPE
  const server = { issuer: url, token_endpoint: url }
  let answer: Response | undefined
  let basic = ''
  const options: ClientCredentialsGrantRequestOptions = {
    // This time is less than the time that kafkajs allows for a login.
    signal: AbortSignal.timeout(settings.KAFKA_CONNECTION_TIMEOUT_MS * 4),
    // This option allows a URL that begins with http:.
    [allowInsecureRequests]: true,
    [customFetch]: async (to, request) => {
      const { headers } = request as Sent
      basic = headers.authorization?.replace(/^Basic /, '') ?? ''
      answer = await send(to, request as Sent, settings.KAFKA_SASL_OAUTH_CA)
      return answer
    },
  }
  try {
    const parameters = scope === undefined ? {} : { scope }
    const response = await clientCredentialsGrantRequest(server, client, ClientSecretBasic(secret), parameters, options)
    const { access_token: value, expires_in: seconds = 0 } = await processClientCredentialsResponse(
      server,
      client,
      response,
    )
    return { value, lifetimeMs: seconds * 1000 }
  } catch (error) {
    throw explain(error, { url, secret, basic, answer })
  }
}
