/** The console in a real Chromium, on a real reader. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { AxeBuilder } from '@axe-core/playwright'
import { waitUntil } from '@customer-stream/runtime'
import { CustomersPayload, dealersKey, positionsKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { freePorts, openPipeline, type Pipeline, type ServiceProcess, untilApplied } from '@customer-stream/testing'
import { startChromium } from '@customer-stream/testing/chromium'
import { startRedis } from '@customer-stream/testing/vitest'
import type { TSchema } from '@sinclair/typebox'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, inject, it, onTestFinished } from 'vitest'
import type { QuarantineList } from '../../services/reader/src/http/quarantine-document.ts'

let pipeline: Pipeline
let browser: Browser | undefined
let noBrowser = ''
let ingress: ServiceProcess
let reader: ServiceProcess

/**
 * Only the reader knows this charset. So a body in this charset goes to quarantine, and the reader
 * can redrive its record.
 */
const READER = { MYKAARMA_CHARSET: 'windows-1252' }

const buildConsole = () => promisify(execFile)('npm', ['run', '--silent', 'build', '-w', '@customer-stream/reader'])

beforeAll(async () => {
  try {
    browser = await startChromium()
  } catch (error) {
    noBrowser = (error as Error).message
    // Vitest prints the reason of a skipped test only if the file has a failed test.
    process.stderr.write(`the tests of the console are skipped: ${noBrowser}\n`)
    return
  }
  await buildConsole()
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  const started = [
    pipeline.start('projector'),
    pipeline.start('reader', { INGRESS_ADMIN_URLS: ingress.adminUrl, ...READER }),
  ] as const
  const [projector] = await Promise.all(started)
  reader = await started[1]
  await Promise.all([ingress, projector, reader].map((service) => service.untilReady()))
}, 300_000)
afterAll(async () => {
  await browser?.close()
  await pipeline?.close()
})
beforeEach((context) => context.skip(browser === undefined, noBrowser))

/**
 * Opens the console in a fresh browser. Fails the test if the page prints an error, or sends a
 * request to another server.
 */
const openConsole = async (theme: 'light' | 'dark' = 'light', url = reader.url): Promise<Page> => {
  const context = await browser!.newContext({ colorScheme: theme })
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', ({ message }) => faults.push(message))
  // Leave out requests without an answer and answers of 400 or more. Chromium prints an error for
  // these.
  page.on('console', (line) => {
    if (line.type() === 'error' && !/the server responded with|net::ERR_/.test(line.text())) faults.push(line.text())
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) faults.push(request.url())
  })
  onTestFinished(async () => {
    await context.close()
    expect(faults).toEqual([])
  })
  await page.goto(`${url}/`)
  return page
}

const signIn = async (page: Page, key: string): Promise<void> => {
  await page.getByLabel('API key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

const openView = async (page: Page, view: string): Promise<void> => {
  await page.getByRole('link', { name: view, exact: true }).click()
  await page.getByRole('heading', { level: 1, name: view }).waitFor()
}

const lookUp = async (page: Page, kind: string, text: string): Promise<void> => {
  await page.getByLabel('Look up by').selectOption({ label: kind })
  await page.getByLabel('Value').fill(text)
  await page.getByRole('button', { name: 'Look up' }).click()
}

const store = async (overrides: Parameters<typeof makeCustomersEvent>[0] = {}) => {
  const event = makeCustomersEvent({ timestamp: Date.now(), ...overrides })
  expect((await pipeline.post(ingress, event.body)).status).toBe(202)
  await untilApplied(pipeline, event.customerUuid, event.timestamp)
  return event
}

/** Returns the number of reveals in the log of the reader. */
const reveals = () => readFileSync(reader.logFile, 'utf8').split('"event":"revealed"').length - 1

/**
 * Returns what axe finds wrong on the page. Only the contrast depends on the theme. The legacy mode
 * only leaves out frames of other servers. It needs a third of the CPU time, because it opens no
 * second page for each result.
 */
const violationsOf = async (page: Page, theme: 'light' | 'dark') => {
  const axe = new AxeBuilder({ page }).options({ resultTypes: ['violations'] }).setLegacyMode()
  const { violations } = await (theme === 'light' ? axe : axe.withRules(['color-contrast'])).analyze()
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
}

it('the console refuses a wrong API key, and forgets the key after the sign-out', async () => {
  const page = await openConsole()
  await page.locator('#key:focus').waitFor()
  await signIn(page, 'wrong')
  await page.getByText('The reader refused this API key.').waitFor()
  await page.locator('#key:focus').waitFor()
  await signIn(page, 'full-api-key')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('API key').waitFor()
  expect(await page.evaluate('sessionStorage.length')).toBe(0)
})

it('the console finds a customer by id, phone, e-mail and VIN, masks the data, and logs each reveal', async () => {
  const customer = {
    firstName: 'Grace',
    middleName: 'B.',
    lastName: 'Hopper',
    company: 'US Navy',
    emails: [{ emailAddress: 'grace@example.com' }],
    phoneNumbers: [{ phoneNumber: '(310) 555-0142' }],
  }
  const { customerUuid } = await store({ customer, vehicles: [{ vin: '1GD312CG0BF081737' }] })
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  for (const [kind, text] of [
    ['Phone number', '+1 310 555 0142'],
    ['E-mail address', 'GRACE@example.com'],
    ['VIN', '1gd312cg0bf081737'],
    ['Customer id', customerUuid],
  ] as const) {
    await lookUp(page, kind, text)
    await page.getByText(/1 customer found. (Redis has all events until|The reader does not know)/).waitFor()
    await page.getByRole('heading', { name: 'Customer (masked)' }).waitFor()
    expect(await page.locator('main').textContent()).not.toMatch(/Hopper|US Navy|grace@|555-0142|1GD312CG0BF081737/)
  }
  expect([reveals(), page.url()]).toEqual([0, `${reader.url}/#look-up`])
  await page.getByRole('button', { name: 'Reveal personal data' }).click()
  await page.getByRole('heading', { name: 'Grace Hopper' }).waitFor()
  expect(reveals()).toBe(1)
  const names = await page.locator('dt').allTextContents()
  expect(names.slice(0, 4)).toEqual(['firstName', 'middleName', 'lastName', 'company'])
  await page.getByRole('button', { name: 'Mask again' }).click()
  await page.getByRole('heading', { name: 'Customer (masked)' }).waitFor()
  await lookUp(page, 'Customer id', 'nobody')
  await page.getByText('0 customers found. The value was looked up as: Customer id.').waitFor()
  await lookUp(page, 'Phone number', 'no number')
  await page.getByText('The value cannot be looked up').waitFor()
})

it('after the sign-out the console shows no data that an earlier key has read', async () => {
  const { customerUuid } = await store()
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByText('1 customer found.').waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await signIn(page, 'masked-api-key')
  await openView(page, 'Look-up')
  expect(await page.getByText(customerUuid).count()).toBe(0)
})

it('a slow answer of an earlier look-up does not replace the answer of a later look-up', async () => {
  const [slow, late] = [await store(), await store()]
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  const held = Promise.withResolvers<void>()
  await page.route(`**/v1/customers/${slow.customerUuid}`, async (route) => {
    await held.promise
    await route.continue()
  })
  await lookUp(page, 'Customer id', slow.customerUuid)
  await lookUp(page, 'Customer id', late.customerUuid)
  await page.getByText(late.customerUuid).first().waitFor()
  const answered = page.waitForResponse((answer) => answer.url().endsWith(slow.customerUuid))
  held.resolve()
  await (await answered).finished()
  // When the page shows the events, the slow answer has been handled.
  await page.getByRole('button', { name: 'Show the events' }).click()
  await page.getByText('1 event found.').waitFor()
  expect(await page.getByText(late.customerUuid).count()).toBeGreaterThan(0)
  expect(await page.getByText(slow.customerUuid).count()).toBe(0)
})

it('with a key without the scope pii the console reveals nothing, and says why', async () => {
  const { customerUuid } = await store({ customer: { lastName: 'Hopper' } })
  const page = await openConsole()
  await signIn(page, 'masked-api-key')
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByRole('button', { name: 'Reveal personal data' }).click()
  await page.getByText('does not have the scope pii').waitFor()
  expect(await page.locator('main').textContent()).not.toContain('Hopper')
})

/** Markup that would change the title of the page if a browser ran it. */
const MARKUP = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`

interface MarkedPayload {
  readonly customer: Record<string, unknown>
  readonly vehicles: object[]
  readonly addresses: object[]
}

/**
 * Returns a value that fits the schema. Each text in the value contains markup. Members that are
 * not texts are left out.
 */
const marked = (schema: TSchema): unknown => {
  const [value = schema] = schema.anyOf ?? []
  if (value.type === 'array') return [marked(value.items)]
  if (value.type !== 'object') return value.type === 'string' ? MARKUP : undefined
  const members = Object.entries<TSchema>(value.properties)
  return Object.fromEntries(members.map(([name, member]) => [name, marked(member)]))
}

it('HTML and scripts in every field of a customer are shown as text', async () => {
  const { customer, vehicles, addresses } = marked(CustomersPayload.properties.customerWithVehicles) as MarkedPayload
  // Put markup into fields of other types, too, and into a field that the sender does not document.
  for (const name of ['id', 'isBusiness', 'availability', MARKUP]) customer[name] = MARKUP
  delete customer.addresses
  const sent = JSON.stringify([customer, vehicles, addresses]).split(JSON.stringify(MARKUP)).length - 1
  expect(sent).toBeGreaterThan(40)
  const customerUuid = `<b>${Date.now()}</b>`
  await store({ customerUuid, dealeruuid: MARKUP, customer: { ...customer, customerUuid }, vehicles, addresses })
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByRole('button', { name: 'Reveal personal data' }).click()
  await page.getByRole('heading', { name: MARKUP }).waitFor()
  const shown = (await page.locator('main').textContent()) ?? ''
  expect(shown.split(MARKUP).length - 1).toBeGreaterThanOrEqual(sent)
  expect(shown).toContain(customerUuid)
  expect(await page.locator('main :is(img, script, b)').count()).toBe(0)
  expect(await page.title()).toBe('Look-up – customer-stream')
})

it.each(['light', 'dark'] as const)('axe finds no violation in the %s theme', async (theme) => {
  const { customerUuid } = await store()
  const page = await openConsole(theme)
  expect(await violationsOf(page, theme)).toEqual([])
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByRole('button', { name: 'Reveal personal data' }).click()
  await page.getByRole('button', { name: 'Mask again' }).waitFor()
  expect(await violationsOf(page, theme)).toEqual([])
  for (const view of ['Overview', 'Flow', 'Quarantine', 'Dealers']) {
    await openView(page, view)
    await page.waitForLoadState('networkidle')
    expect([view, await violationsOf(page, theme)]).toEqual([view, []])
  }
  await page.getByRole('link', { name: 'API' }).click()
  await page.getByRole('heading', { name: 'GET /v1/pipeline' }).waitFor()
  expect(await violationsOf(page, theme)).toEqual([])
})

it('the view Flow shows a change while it happens, and reveals no personal data', async () => {
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Flow')
  await page.getByText('Personal data is masked.').waitFor()
  const before = reveals()
  const { customerUuid } = await store({ dealeruuid: 'dealer-of-the-change' })
  await page.getByRole('row').filter({ hasText: customerUuid }).filter({ hasText: 'dealer-of-the-change' }).waitFor()
  await page.getByRole('link', { name: customerUuid }).click()
  await page.getByRole('heading', { name: 'Customer (masked)' }).waitFor()
  expect(reveals()).toBe(before)
})

it('the history in the console shows each event, and marks what the event has changed', async () => {
  const { customerUuid, timestamp } = await store({ customer: { lastName: 'Byron' } })
  await store({ customerUuid, timestamp: timestamp + 1, customer: { lastName: 'Lovelace' } })
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByRole('button', { name: 'Show the events' }).click()
  await page.getByText('2 events found.').waitFor()
  await page.getByText('Details').first().click()
  expect(await page.locator('main').textContent()).not.toMatch(/Lovelace|Byron/)
  await page.getByRole('row', { name: /customer.lastName .*masked, not compared/ }).waitFor()
  await page.getByRole('button', { name: 'Reveal the raw events' }).click()
  await page.getByText('"lastName').first().waitFor()
  await page.getByRole('row').filter({ hasText: 'changed, was Byron' }).waitFor()
  expect(await violationsOf(page, 'light')).toEqual([])
})

it('no view of the console is wider than the window, from 360 to 3840 pixels', async () => {
  const { customerUuid } = await store({ customer: { lastName: 'x'.repeat(300) } })
  const id = await quarantine(Buffer.from('{'.repeat(300)))
  const page = await openConsole()
  const tooWide: string[] = []
  const measure = async (what: string) => {
    for (const width of [360, 768, 1280, 3840]) {
      await page.setViewportSize({ width, height: 800 })
      const needed = Number(await page.evaluate('document.documentElement.scrollWidth'))
      if (needed > width) tooWide.push(`${what}: ${needed} of ${width}`)
    }
  }
  await measure('Sign-in')
  await signIn(page, 'full-api-key')
  for (const view of ['Overview', 'Flow', 'Dealers']) {
    await openView(page, view)
    await page.waitForLoadState('networkidle')
    await measure(view)
  }
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByRole('button', { name: 'Reveal personal data' }).click()
  await page.getByRole('button', { name: 'Reveal the raw events' }).click()
  await page.getByText('Details').click()
  await page.getByRole('heading', { name: 'Parsed' }).waitFor()
  await measure('Look-up')
  await openView(page, 'Quarantine')
  await page.getByRole('button', { name: id }).click()
  await page.getByRole('button', { name: 'Reveal the bytes' }).click()
  await page.getByRole('heading', { name: 'Key and headers' }).waitFor()
  await page.getByLabel(`Select ${id}`).check()
  await measure('Quarantine')
  await page.getByRole('button', { name: 'Redrive the selected records' }).click()
  await page.getByText('0 records of 1 can be redriven.').waitFor()
  await measure('Redrive')
  await page.goto(`${reader.url}/docs`)
  await measure('API')
  expect(tooWide).toEqual([])
})

it('with the keyboard alone a person can sign in, open a view, select a record and leave a dialog', async () => {
  const id = await quarantine(Buffer.from('{keyboard'))
  const page = await openConsole()
  const focused = () =>
    page.evaluate<string>(`document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()`)
  /** Presses a key until the element with this name has the focus. */
  const press = async (key: 'Tab' | 'Shift+Tab', name: string) => {
    for (let presses = 0; presses < 100 && (await focused()) !== name; presses++) await page.keyboard.press(key)
    expect(await focused()).toBe(name)
  }
  await page.locator('#key:focus').waitFor()
  await page.keyboard.type('full-api-key')
  await page.keyboard.press('Enter')
  await page.locator('h1:focus').filter({ hasText: 'Overview' }).waitFor()
  await press('Shift+Tab', 'Quarantine')
  await page.keyboard.press('Enter')
  await page.locator('h1:focus').filter({ hasText: 'Quarantine' }).waitFor()
  await page.getByLabel(`Select ${id}`).waitFor()
  await press('Tab', `Select ${id}`)
  await page.keyboard.press('Space')
  await page.getByText('1 record selected.').waitFor()
  await press('Shift+Tab', 'Redrive the selected records')
  await page.keyboard.press('Enter')
  await page.getByText('0 records of 1 can be redriven.').waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  expect(await focused()).toBe('Redrive the selected records')
})

it('the console shows only the beginning of a long raw event, because a browser would need seconds', async () => {
  const { customerUuid } = await store({ customer: { company: 'x'.repeat(100_000) } })
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByRole('button', { name: 'Reveal the raw events' }).click()
  await page.getByText('1 event found.').waitFor()
  expect(await page.locator('pre').count()).toBe(0)
  await page.getByText('Details').click()
  await page.getByText('Only the beginning is shown.').waitFor()
  expect((await page.locator('pre').textContent())?.length).toBe(65_536)
})

const listed = async () => {
  const answer = await fetch(`${reader.url}/v1/quarantine`, { headers: { authorization: 'Bearer full-api-key' } })
  return ((await answer.json()) as QuarantineList).records.map(({ id }) => id)
}

/** Sends a body that goes to quarantine. Returns the id of its record. */
const quarantine = async (body: Buffer): Promise<string> => {
  const before = await listed()
  expect((await pipeline.post(ingress, body)).status).toBe(400)
  const isNew = (id: string) => !before.includes(id)
  const after = await waitUntil('quarantine has the record', listed, (ids) => ids.some(isNew))
  return after.find(isNew)!
}

it('the console shows the reason of a quarantine record, and its bytes as text after a logged reveal', async () => {
  const id = await quarantine(Buffer.from(`{${MARKUP}`))
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Quarantine')
  const row = page.getByRole('row').filter({ hasText: id })
  expect(await row.textContent()).toMatch(/not-json.*open/)
  await row.getByRole('button', { name: id }).click()
  const [before, shown] = [reveals(), page.locator('article')]
  expect(await shown.textContent()).not.toContain('img')
  await page.getByRole('button', { name: 'Reveal the bytes' }).click()
  await page.getByRole('heading', { name: 'Key and headers' }).waitFor()
  expect(await page.locator('pre').textContent()).toBe(`{${MARKUP}`)
  expect([await page.locator('main :is(img, script)').count(), reveals()]).toEqual([0, before + 1])
  expect(await page.title()).toBe('Quarantine – customer-stream')
  // A screen reader stays at the element with the focus, so this button must keep the focus.
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Hide the bytes')
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Reveal the bytes' }).waitFor()
  expect(await page.locator('pre').count()).toBe(0)
  await page.keyboard.press('Enter')
  await page.locator('pre').waitFor()
  expect(await violationsOf(page, 'light')).toEqual([])
})

it('a redrive in the console needs a dry run and a confirmation, and then the customer is in Redis', async () => {
  const [customerUuid, timestamp] = [`zoe-${Date.now()}`, Date.now()]
  const payload = JSON.stringify({ customerWithVehicles: { customer: { customerUuid, firstName: 'Zo\u00eb' } } })
  const body = Buffer.from(JSON.stringify({ id: customerUuid, timestamp, type: 'customers', payload }), 'latin1')
  const [good, bad] = [await quarantine(body), await quarantine(Buffer.from(`{${customerUuid}`))]
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Quarantine')
  await page.getByRole('button', { name: good }).click()
  await page.getByRole('button', { name: 'Reveal the bytes' }).click()
  await page.getByRole('heading', { name: 'Bytes, which are not text' }).waitFor()
  expect(await page.locator('pre').textContent()).toContain('6f eb ')
  for (const id of [good, bad]) await page.getByLabel(`Select ${id}`).check()
  await page.getByRole('button', { name: 'Redrive the selected records' }).click()
  await page.getByText('1 record of 2 can be redriven.').waitFor()
  const dialog = await page.getByRole('dialog').textContent()
  expect([dialog?.includes(`${good}: would-redrive to `), dialog?.includes(`${bad}: refused`)]).toEqual([true, true])
  expect(await violationsOf(page, 'light')).toEqual([])
  await page.getByRole('button', { name: 'Cancel' }).click()
  const state = page.getByRole('row').filter({ hasText: good })
  expect(await state.textContent()).toMatch(/open$/)
  await page.getByRole('button', { name: 'Redrive this record' }).click()
  await page.getByRole('button', { name: 'Redrive 1 record now' }).click()
  await page.getByText('The reader has answered for 1 of 1 record.').waitFor()
  await page.getByRole('button', { name: 'Close' }).click()
  await state.filter({ hasText: 'redriven' }).waitFor()
  expect(await page.getByLabel(`Select ${good}`).isDisabled()).toBe(true)
  await untilApplied(pipeline, customerUuid, timestamp)
  await openView(page, 'Look-up')
  await lookUp(page, 'Customer id', customerUuid)
  await page.getByText('1 customer found.').waitFor()
})

it('in the console an opened record gets the focus, and Cancel ends a dry run but keeps the selection', async () => {
  const ids = [await quarantine(Buffer.from('{cancel')), await quarantine(Buffer.from('[cancel'))]
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Quarantine')
  await page.getByRole('button', { name: ids[0]! }).click()
  await page.locator('#record:focus').filter({ hasText: ids[0]! }).waitFor()
  const [asked, answer] = [[] as string[], Promise.withResolvers<void>()]
  await page.route('**/redrive*', async (route) => {
    asked.push(route.request().url())
    await answer.promise
    await route.continue()
  })
  for (const id of ids) await page.getByLabel(`Select ${id}`).check()
  await page.getByRole('button', { name: 'Redrive the selected records' }).click()
  await waitUntil(
    'the dry run has begun',
    () => asked.length,
    (count) => count === 1,
  )
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  const answered = page.waitForResponse(/redrive/)
  answer.resolve()
  await (await answered).finished()
  await page.getByText('2 records selected.').waitFor()
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Redrive the selected records')
  expect(asked).toHaveLength(1)
})

it('a stopped redrive sends no more records, and the page shows how many records were answered', async () => {
  const ids = ['a', 'b'].map((letter) => `topic-0-${letter}`)
  const [page, sending] = [await openConsole(), Promise.withResolvers<void>()]
  const asked: string[] = []
  // This test gives the answers of the reader, so that it controls whether the stop or the answer
  // comes first.
  await page.route('**/v1/quarantine', (route) =>
    route.fulfill({
      json: {
        records: ids.map((id, offset) => ({
          id,
          partition: 0,
          offset: String(offset),
          reason: 'not-utf8',
          explanation: '',
          stage: 'ingress',
          source: null,
          receivedAt: 1,
          bytes: 1,
          handled: null,
        })),
      },
    }),
  )
  await page.route('**/redrive*', async (route) => {
    const isDryRun = route.request().url().endsWith('dry-run=1')
    if (!isDryRun) asked.push(route.request().url())
    if (!isDryRun) await sending.promise
    await route.fulfill({ json: { id: ids[0], outcome: isDryRun ? 'would-redrive' : 'redriven', topic: 'raw' } })
  })
  await signIn(page, 'full-api-key')
  await openView(page, 'Quarantine')
  await page.getByRole('button', { name: 'Select all with not-utf8 (2)' }).click()
  await page.getByRole('button', { name: 'Redrive the selected records' }).click()
  await page.getByRole('button', { name: 'Redrive 2 records now' }).click()
  await page.getByRole('button', { name: 'Stop after this record' }).click()
  sending.resolve()
  await page.getByText('The reader has answered for 1 of 2 records.').waitFor()
  await page.getByRole('button', { name: 'Close' }).click()
  await page.locator('h1:focus').waitFor()
  expect(asked).toHaveLength(1)
})

it('with a key without the scope operate, Overview shows no problem and asks for the pipeline only once', async () => {
  const page = await openConsole()
  await page.clock.install()
  let asked = 0
  page.on('request', (request) => {
    if (request.url().endsWith('/v1/pipeline')) asked++
  })
  await signIn(page, 'masked-api-key')
  await page.getByRole('heading', { name: 'These figures are not for this API key' }).waitFor()
  expect(await page.locator('.bad-edge').count()).toBe(0)
  await page.clock.fastForward(20_000)
  // If the timer had sent a request, it would have been counted before the answer to this later
  // request.
  const answered = page.waitForResponse(/dealers/)
  await openView(page, 'Dealers')
  await answered
  expect(asked).toBe(1)
})

it('with a key without the scope operate, the console shows no quarantine, not even an earlier list', async () => {
  const id = await quarantine(Buffer.from('{'))
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  await openView(page, 'Quarantine')
  await page.getByRole('button', { name: id }).waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await signIn(page, 'masked-api-key')
  await openView(page, 'Quarantine')
  await page.getByText('The API key needs the scope operate.').waitFor()
  expect(await page.locator('main').textContent()).not.toContain(id)
})

it('the view Dealers shows the customers and the state of each dealer', async () => {
  const dealeruuid = `dealer-${Date.now()}`
  await store({ dealeruuid })
  const page = await openConsole()
  await signIn(page, 'masked-api-key')
  const row = page.getByRole('row').filter({ hasText: dealeruuid })
  // The projector does not store the activity of dealers immediately.
  await waitUntil(
    'the dealer is on the page',
    async () => {
      await openView(page, 'Overview')
      await openView(page, 'Dealers')
      await page.waitForLoadState('networkidle')
      return (await row.count()) === 0 ? '' : await row.textContent()
    },
    (text) => /new1.* ago1$/.test(text ?? ''),
  )
})

it('the views Overview and Flow show the figures of a running pipeline', async () => {
  const page = await openConsole()
  await signIn(page, 'full-api-key')
  const figureOf = async (name: string) =>
    (await page.getByRole('link', { name }).locator('strong').textContent()) ?? ''
  await waitUntil(
    'the figures are on the page',
    async () => {
      await store()
      return Promise.all(['Events stored', 'Events handled', 'Freshness', 'Lag', 'Events at risk'].map(figureOf))
    },
    ([stored = '', handled = '', freshness = '', lag, atRisk]) =>
      /[1-9].*\/s$/.test(stored) &&
      /[1-9].*\/s$/.test(handled) &&
      /[1-9].* m?s$/.test(freshness) &&
      lag === '0' &&
      atRisk === '0',
  )
  await page.getByText('1 projector', { exact: true }).waitFor()
  expect(await page.getByRole('link', { name: 'Events stored' }).textContent()).toMatch(/in the last minute$/)
  await page.getByRole('heading', { name: /^All is well/ }).waitFor()
  await openView(page, 'Flow')
  const rowOf = (name: string) => page.locator('dl > div').filter({ hasText: name }).locator('dd').textContent()
  expect(await rowOf('applied')).toMatch(/[1-9].*\/s$/)
  expect(await rowOf('received by ingresses')).toMatch(/[1-9].*\/s$/)
  await page.getByRole('heading', { name: 'Requests of the sender a second, the last hour' }).waitFor()
  const lags = page.getByRole('region', { name: 'Table of partitions' }).getByRole('row')
  expect(await lags.count()).toBeGreaterThan(1)
})

it('the console shows when an outage of Redis or of the reader begins and ends', async () => {
  const redis = await startRedis({ args: ['--appendfsync', 'always'] })
  onTestFinished(() => redis.stop())
  const client = await pipeline.connectRedis(redis.url)
  await client.hset(positionsKey(1, pipeline.keyPrefix), `${pipeline.topics.customers}/0`, '0')
  client.disconnect()
  const [port] = (await freePorts(1)).map(String)
  const env = { REDIS_URL: redis.url, REDIS_COMMAND_TIMEOUT_MS: '500', PORT: port! }
  const first = await pipeline.start('reader', env)
  await first.untilReady()
  const page = await openConsole('light', first.url)
  await signIn(page, 'full-api-key')
  const lag = page.getByRole('link', { name: 'Lag' }).locator('strong')
  const reason = page.getByRole('listitem').filter({ hasText: 'Redis redis://' })
  await lag.filter({ hasText: /\d/ }).waitFor()
  expect(await reason.count()).toBe(0)
  await redis.kill()
  await reason.first().waitFor()
  await lag.filter({ hasText: '–' }).waitFor()
  await redis.restart()
  await reason.first().waitFor({ state: 'detached' })
  await lag.filter({ hasText: /\d/ }).waitFor()
  await first.end()
  await page.getByText('The reader does not answer.').waitFor()
  await page.getByText('The figures below are of').waitFor()
  expect(await lag.textContent()).toMatch(/\d/)
  await (await pipeline.start('reader', env)).untilReady()
  await page.getByText('The reader does not answer.').waitFor({ state: 'detached' })
  await page.getByText('Checked at').waitFor()
})

it('a refresh of the view Dealers keeps all dealers that a person has loaded', async () => {
  const ids = Array.from({ length: 600 }, (_, i) => `many-${String(i).padStart(3, '0')}`)
  const key = dealersKey(pipeline.keyPrefix)
  await pipeline.redis.zadd(key, ...ids.flatMap((id) => [String(Date.now()), id]))
  onTestFinished(async () => void (await pipeline.redis.zrem(key, ...ids)))
  const page = await openConsole()
  await page.clock.install()
  await signIn(page, 'masked-api-key')
  await openView(page, 'Dealers')
  await page.getByRole('button', { name: 'More dealers' }).click()
  await page.getByText('many-599').waitFor()
  await pipeline.redis.zadd(key, String(Date.now()), 'many-600')
  onTestFinished(async () => void (await pipeline.redis.zrem(key, 'many-600')))
  await page.clock.fastForward(31_000)
  await page.getByText('many-600').waitFor()
  expect(await page.getByText('many-000').count()).toBe(1)
})

it('the first view of the console loads less than 150 kB', async () => {
  const files = ['/', '/console.js', '/console.css', '/icon.svg']
  const sizes = await Promise.all(
    files.map(async (file) => {
      // The header content-length has the compressed size, although fetch decompresses the body.
      const { headers } = await fetch(`${reader.url}${file}`, { headers: { 'accept-encoding': 'gzip' } })
      return Number(headers.get('content-length'))
    }),
  )
  expect(Math.min(...sizes)).toBeGreaterThan(0)
  expect(sizes.reduce((a, b) => a + b)).toBeLessThan(150_000)
})
