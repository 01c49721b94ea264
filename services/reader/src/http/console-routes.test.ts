import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { CONSOLE_PATHS } from './console-routes.ts'
import { start } from './fixtures/start-app.ts'

it.each(CONSOLE_PATHS)('the file %s of the console needs no key, and loads only files of the reader', async (url) => {
  const { app } = start()
  const answer = await app.inject({ url, headers: { 'accept-encoding': 'gzip' } })
  // A working copy without a build answers with a problem.
  expect(answer.statusCode === 200 || answer.json().detail.includes('The console is not built')).toBe(true)
  if (answer.statusCode !== 200) return
  expect(answer.headers).toMatchObject({
    'content-security-policy': expect.stringMatching(/^default-src 'none'; script-src 'self'; .*frame-ancestors 'none/),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'content-encoding': 'gzip',
  })
  expect(answer.headers['content-security-policy']).not.toMatch(/unsafe|http|\*/)
  const again = await app.inject({ url, headers: { 'if-none-match': String(answer.headers.etag) } })
  expect([again.statusCode, again.body]).toEqual([304, ''])
  expect((await app.inject({ url })).headers['content-encoding']).toBeUndefined()
})

it('the page has no inline script, no inline style and no other host', async () => {
  const page = await readFile(new URL('../../console/index.html', import.meta.url), 'utf8')
  expect(page).not.toMatch(/<style|style=|onload|https?:|<script(?! type="module" src="console.js"><\/script>)/)
})

it.each([
  ['gzip;q=0', undefined],
  ['br, gzip ; q=0.000', undefined],
  ['gzip;q=0.5', 'gzip'],
  ['br, GZIP', 'gzip'],
])('a file is compressed only for a client that takes gzip: %s', async (accepted, encoding) => {
  const answer = await start().app.inject({ url: '/icon.svg', headers: { 'accept-encoding': accepted } })
  // A working copy without a build has no files.
  if (answer.statusCode === 404) return
  expect(answer.headers['content-encoding']).toBe(encoding)
})
