/** Requests to the reader. Each request has the API key as a header. */
import { signal } from '@preact/signals'
import { parseExact } from './exact-json.ts'

const STORED_KEY = 'customer-stream.api-key'
const STORED_REFUSAL = 'customer-stream.refusal'

/**
 * Undefined before the sign-in. The browser forgets the key when the tab closes. An empty key is
 * for a reader with READER_AUTH=off.
 */
export const apiKey = signal<string | undefined>(sessionStorage.getItem(STORED_KEY) ?? undefined)

/** Reason why the last API key was refused. */
export const refusal = signal<string | undefined>(sessionStorage.getItem(STORED_REFUSAL) ?? undefined)
sessionStorage.removeItem(STORED_REFUSAL)

/** An answer other than 2xx, or no answer. Its text is for a person. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  /** 0 if there was no answer. */
  readonly status: number
  readonly type: string
  /** Undefined if there was no answer. */
  readonly headers: Headers | undefined

  constructor(status: number, type: string, text: string, headers?: Headers) {
    super(text)
    this.status = status
    this.type = type
    this.headers = headers
  }
}

export interface Asked {
  readonly method?: 'GET' | 'POST'
  readonly body?: unknown
  /** If true, the answer shows personal data without a mask, and the reader logs the reveal. */
  readonly reveals?: boolean
  readonly signal?: AbortSignal
  readonly headers?: Readonly<Record<string, string>>
}

/** Loads the page again, so that the next person sees nothing that this key has read. */
export const signOut = (reason?: string): void => {
  sessionStorage.removeItem(STORED_KEY)
  if (reason !== undefined) sessionStorage.setItem(STORED_REFUSAL, reason)
  location.reload()
}

/**
 * Returns a function to call before each request of one kind. Each call returns a check: the check
 * returns false when a later request has begun. So a slow answer does not replace a later answer.
 */
export const createLatest = () => {
  let last = 0
  return () => {
    last += 1
    const mine = last
    return () => mine === last
  }
}

const problemOf = async (answer: Response): Promise<ApiError> => {
  const { type, title, detail } = await answer.json().catch(() => ({}))
  const text = [title ?? `The reader answered ${answer.status}.`, detail].filter((part) => part !== undefined)
  return new ApiError(answer.status, type ?? 'unknown', text.join(' '), answer.headers)
}

/** Resolves with an answer of 2xx. Rejects with an ApiError, or after an abort with its error. */
const fetchWith = async (key: string, path: string, asked: Asked): Promise<Response> => {
  const { method = 'GET', body, reveals = false, signal: abort, headers } = asked
  const answer = await fetch(path, {
    method,
    cache: 'no-store',
    credentials: 'omit',
    headers: {
      ...(key !== '' && { authorization: `Bearer ${key}` }),
      ...(!reveals && { 'x-mask': 'on' }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(abort && { signal: abort }),
  }).catch((error: Error) => {
    if (abort?.aborted) throw error
    throw new ApiError(0, 'no-answer', 'The reader does not answer.')
  })
  if (answer.ok) return answer
  throw await problemOf(answer)
}

/** Signs out if the reader refuses the key, for example because the key was removed. */
export const open = async (path: string, asked: Asked = {}): Promise<Response> => {
  const key = apiKey.value
  if (key === undefined) throw new ApiError(401, 'unauthenticated', 'Sign in first.')
  try {
    return await fetchWith(key, path, asked)
  } catch (error) {
    if (error instanceof ApiError && error.status === 401 && apiKey.value === key) signOut('The API key was refused.')
    throw error
  }
}

const read = async <Answer>(answer: Response): Promise<Answer> => parseExact(await answer.text()) as Answer

export const ask = async <Answer>(path: string, asked: Asked = {}): Promise<Answer> => read(await open(path, asked))

/** Resolves with the answer and its headers. */
export const askWithHeaders = async <Answer>(path: string, asked: Asked = {}): Promise<readonly [Answer, Headers]> => {
  const answer = await open(path, asked)
  return [await read<Answer>(answer), answer.headers]
}

/**
 * A route that needs an API key. Any answer except 401 shows that the reader knows the key.
 */
const CHECKED_PATH = '/v1/customers/-'

/** Resolves when the reader has accepted the key. */
export const signIn = async (key: string): Promise<void> => {
  await fetchWith(key, CHECKED_PATH, {}).catch((error: ApiError) => {
    // An operator must be able to sign in during an outage of Redis, which gives 503.
    if (![403, 404, 503].includes(error.status)) throw error
  })
  sessionStorage.setItem(STORED_KEY, key)
  refusal.value = undefined
  apiKey.value = key
}
