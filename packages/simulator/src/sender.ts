import { type Dispatcher, Pool } from 'undici'

export type AttemptResult =
  | { readonly outcome: 'answered'; readonly status: number }
  /** `cutOff`: the other side ended the connection after the whole request had been written, without an answer. */
  | { readonly outcome: 'dropped' | 'timedOut' | 'cutOff' }
  /** `reason`: an error code, e.g. ECONNREFUSED. */
  | { readonly outcome: 'connectionFailed'; readonly reason: string }

export interface Sender {
  /** One attempt; never rejects. With `dropAfterMs` the socket is torn that long after the whole request was written, whatever the answer. */
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

/** One request per connection at a time, so that a torn socket takes no other request with it. */
export function createSender({ url, token, timeoutMs, connections }: SenderOptions): Sender {
  const { origin, pathname, search } = new URL(url)
  const path = pathname + search
  // The time-outs of undici are switched off: ours covers the whole attempt, waiting for a connection included.
  const pool = new Pool(origin, { connections, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, connect: { timeout: timeoutMs } })

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
            headers: ['content-type', 'text/plain', 'mykaarma-signature-token', signature, 'x-authorization-token', token],
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
              // What counts is the status; whether the answer's body can be read to its end does not.
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
