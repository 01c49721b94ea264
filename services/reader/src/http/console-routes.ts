/**
 * The console: a web page and its files. The page and its files need no API key, because the page
 * asks for the key. The page itself has no data of customers.
 */
import { hash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import { ProblemError } from './problem.ts'
import { matchesTag } from './version-text.ts'

const source = (name: string) => new URL(`../../console/${name}`, import.meta.url)
/** `npm run build` writes this file. */
const SCRIPT = new URL('../../dist/console.js', import.meta.url)

const FILES: Readonly<Record<string, { readonly file: URL; readonly type: string }>> = {
  '/': { file: source('index.html'), type: 'text/html; charset=utf-8' },
  '/console.js': { file: SCRIPT, type: 'text/javascript; charset=utf-8' },
  '/console.css': { file: source('console.css'), type: 'text/css; charset=utf-8' },
  '/icon.svg': { file: source('icon.svg'), type: 'image/svg+xml' },
}

export const CONSOLE_PATHS: readonly string[] = Object.keys(FILES)

/**
 * Only files of the reader itself may load or run. `require-trusted-types-for` refuses each text
 * that a script would insert as HTML.
 */
export const POLICY = [
  "default-src 'none'",
  ...["script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ...["require-trusted-types-for 'script'", "trusted-types 'none'"],
].join('; ')

/** Headers of each page, and of its files. */
export const PAGE_HEADERS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  // A browser asks again before each use, so that an upgrade changes the page at once.
  'cache-control': 'no-cache',
  vary: 'accept-encoding',
}

interface Content {
  readonly modifiedMs: number
  readonly tag: string
  readonly plain: Buffer
  readonly compressed: Buffer
}

const compress = promisify(gzip)

/** Reads a file again if it has changed, so that `npm run dev` shows each change. */
const createFile = (file: URL) => {
  let content: Content | undefined
  return async (): Promise<Content> => {
    const { mtimeMs } = await stat(file)
    if (content?.modifiedMs === mtimeMs) return content
    const plain = await readFile(file)
    const compressed = await compress(plain, { level: 9 })
    content = { modifiedMs: mtimeMs, tag: `"${hash('sha256', plain)}"`, plain, compressed }
    return content
  }
}

/** Returns true if the client accepts gzip. `gzip;q=0` refuses gzip. */
const takesGzip = (accepted = ''): boolean => /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))/i.test(accepted)

const notBuilt = (error: NodeJS.ErrnoException) => {
  if (error.code === 'ENOENT')
    throw new ProblemError('not-found', 'The console is not built. docs/console.md has the command.')
  throw error
}

export const addConsoleRoutes = (app: FastifyInstance): void => {
  const readScript = createFile(SCRIPT)
  for (const [url, { file, type }] of Object.entries(FILES)) {
    const read = file === SCRIPT ? readScript : createFile(file)
    app.get(url, { config: { scope: 'open' } }, async (request, reply) => {
      // Without its script the page would be empty.
      await readScript().catch(notBuilt)
      const { tag, plain, compressed } = await read()
      reply.headers({ ...PAGE_HEADERS, etag: tag })
      if (matchesTag(request.headers['if-none-match'], tag)) return reply.code(304).send()
      if (!takesGzip(request.headers['accept-encoding'])) return reply.type(type).send(plain)
      return reply.header('content-encoding', 'gzip').type(type).send(compressed)
    })
  }
}
