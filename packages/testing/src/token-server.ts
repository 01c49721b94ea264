import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Certificate } from './certificates.ts'

export interface TokenRequest {
  /** Id and secret of the client, as sent. */
  readonly client: string
  readonly parameters: Readonly<Record<string, string>>
}

/** OAuth token endpoint for tests. The endpoint issues unsigned tokens for the client that asks. */
export interface TokenServer {
  readonly url: string
  readonly requests: readonly TokenRequest[]
  /**
   * Sets the answer to each request. `undefined` restores the default: each request gets a token.
   */
  answerWith(answer: ((response: ServerResponse) => void) | undefined): void
  close(): Promise<void>
}

const part = (content: object): string => Buffer.from(JSON.stringify(content)).toString('base64url')

/** Returns a JSON Web Token without a signature. */
export const unsignedToken = (subject: string, lifetimeSeconds: number): string => {
  const now = Math.floor(Date.now() / 1000)
  return `${part({ alg: 'none' })}.${part({ sub: subject, iat: now, exp: now + lifetimeSeconds, scope: [] })}.`
}

/** @param certificate makes the endpoint use TLS. */
export const startTokenServer = async ({
  lifetimeSeconds = 300,
  certificate,
}: {
  lifetimeSeconds?: number
  certificate?: Certificate
} = {}): Promise<TokenServer> => {
  const requests: TokenRequest[] = []
  let answer: ((response: ServerResponse) => void) | undefined
  const onRequest = async (request: IncomingMessage, response: ServerResponse) => {
    const form = await text(request)
    const encoded = request.headers.authorization?.replace(/^Basic /, '') ?? ''
    const client = Buffer.from(encoded, 'base64').toString()
    requests.push({ client, parameters: Object.fromEntries(new URLSearchParams(form)) })
    if (answer) return answer(response)
    // A client encodes its id, e.g. `-` as `%2D` (RFC 6749, section 2.3.1).
    const token = unsignedToken(decodeURIComponent(client.split(':')[0] ?? ''), lifetimeSeconds)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: lifetimeSeconds }))
  }
  const server = certificate ? createTlsServer(certificate, onRequest) : createServer(onRequest)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${port}/token`,
    requests,
    answerWith: (next) => {
      answer = next
    },
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
