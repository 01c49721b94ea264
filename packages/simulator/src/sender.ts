import { type Dispatcher, Pool } from 'undici'

export type AttemptResult =
  | { readonly outcome: 'answered'; readonly status: number }
  /** `cutOff`: the server closed the connection after the complete request, without an answer. */
  | { readonly outcome: 'dropped' | 'timedOut' | 'cutOff' }
  /** `reason` is an error code, for example ECONNREFUSED. */
  | { readonly outcome: 'connectionFailed'; readonly reason: string }

export interface Sender {
  /**
   * Makes one attempt. Never rejects. If `dropAfterMs` is given, closes the socket `dropAfterMs`
   * milliseconds after the request was sent.
   */
  send(body: Uint8Array, signature: string, dropAfterMs?: number): Promise<AttemptResult>
  close(): Promise<void>
}

export interface SenderOptions {
  readonly url: string
  readonly token: string
  readonly timeoutMs: number
  readonly connections: number
}

const reasonOf = (error: Error & { code?: string }): string => error.code ?? error.message

/** Creates a sender. Each connection carries one request at a time. */
export function createSender({ url, token, timeoutMs, connections }: SenderOptions): Sender {
  const { origin, pathname, search } = new URL(url)
  const path = pathname + search
  // undici's timeouts are off, because `timeoutMs` covers the whole attempt, including the wait for
  // a connection.
  const pool = new Pool(origin, {
    connections,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: { timeout: timeoutMs },
  })

  return {
    send: (body, signature, dropAfterMs) =>
      new Promise((resolve) => {
        let controller: Dispatcher.DispatchController | undefined
        let result: AttemptResult | undefined
        let dropTimer: NodeJS.Timeout | undefined
        let isWritten = false

        const settle = (settled: AttemptResult): void => {
          clearTimeout(deadline)
          clearTimeout(dropTimer)
          result ??= settled
          resolve(result)
        }
        const tear = (outcome: 'dropped' | 'timedOut'): void => {
          settle({ outcome })
          controller?.abort(new Error(outcome))
        }
        const deadline = setTimeout(tear, timeoutMs, 'timedOut')

        pool.dispatch(
          {
            method: 'POST',
            path,
            headers: [
              'content-type',
              'text/plain',
              'mykaarma-signature-token',
              signature,
              'x-authorization-token',
              token,
            ],
            body,
          },
          {
            onRequestStart(started) {
              controller = started
              if (result) started.abort(new Error('timed out before it could be sent'))
            },
            onRequestSent() {
              isWritten = true
              if (dropAfterMs !== undefined) dropTimer = setTimeout(tear, dropAfterMs, 'dropped')
            },
            onResponseStart(_, status) {
              if (dropAfterMs !== undefined) tear('dropped')
              // Use the status even if the answer's body is incomplete.
              else if (status >= 200) result = { outcome: 'answered', status }
            },
            onResponseData() {},
            onResponseEnd: () => settle({ outcome: 'cutOff' }),
            onResponseError: (_, error) =>
              settle(isWritten ? { outcome: 'cutOff' } : { outcome: 'connectionFailed', reason: reasonOf(error) }),
          },
        )
      }),
    close: () => pool.destroy(),
  }
}
