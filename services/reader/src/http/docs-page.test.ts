import { expect, it } from 'vitest'
import { POLICY } from './console-routes.ts'
import { DOCS_PATH, docsPage } from './docs-page.ts'
import { start } from './fixtures/start-app.ts'
import { openApi } from './openapi/openapi.ts'

it('the page of the API needs no key, has each operation and schema, and no script, style or other host', async () => {
  const { app } = start()
  const { statusCode, headers, body } = await app.inject(DOCS_PATH)
  expect([statusCode, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
  expect(headers['content-security-policy']).toBe(POLICY)
  const { paths, components } = openApi('0')
  const titles = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  for (const title of [...titles, ...Object.keys(components.schemas)]) expect(body).toContain(`>${title}</h2>`)
  expect(body).not.toMatch(/<style|style=|<script|\son\w+=|(?:href|src)="(?:https?:|\/\/)/)
  const ids = [...body.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id)
  const links = [...body.matchAll(/ href="#([^"]*)"/g)].map(([, id]) => id)
  expect(new Set(ids).size).toBe(ids.length)
  expect(links.filter((link) => !ids.includes(link))).toEqual([])
  const again = await app.inject({ url: DOCS_PATH, headers: { 'if-none-match': String(headers.etag) } })
  expect([again.statusCode, again.body]).toEqual([304, ''])
})

it('the page of the API has a row for a member inside a member, and shows HTML as text', () => {
  const page = docsPage(openApi('<b>'))
  expect(page).not.toContain('<b>')
  expect(page).toContain('<code>rates.receivedPerSecond</code></th><td>number or null</td>')
  expect(page).toContain('<code>lag.partitions[].position</code>')
})
