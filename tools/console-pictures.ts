/**
 * `npm run pictures:console`: takes pictures of each view of the console, from a real run.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { interruption, printNotice, reportFailure } from '@customer-stream/cli/interruption'
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { createSimulation, makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess, startBrokers, untilApplied } from '@customer-stream/testing'
import { startChromium } from '@customer-stream/testing/chromium'
import type { Browser, Page } from 'playwright-core'

const root = fileURLToPath(new URL('..', import.meta.url))
const all = join(root, '.data', 'pictures')
const VIEWS = ['overview', 'flow', 'look-up', 'quarantine', 'dealers'] as const
const WIDTHS = [360, 1280, 2560] as const
const THEMES = ['light', 'dark'] as const
/** Pictures that the documents show. */
const SHOWN = VIEWS.map((view) => `${view}-1280-light.png`)

const seconds = readCommandLine({
  name: 'pictures:console',
  usage: `npm run pictures:console -- [--seconds N]

  Runs the pipeline under load, and takes pictures of each view of the console, at 360, 1280 and 2560
  pixels, in both themes. All pictures are in .data/pictures. The pictures of the documents are copied to
  docs/pictures.
  --seconds N   time under load before the pictures (default 90)`,
  options: { seconds: 'text' },
  read: ({ texts: { seconds: given = '90' } }) => {
    if (/^[1-9]\d{0,3}$/.test(given)) return Number(given)
    throw new Error(`--seconds must be a number above 0, not ${given}`)
  },
})

/** Stores a customer with some versions, for the view Look-up. Returns the customer's id. */
const storeAda = async (pipeline: Pipeline, ingress: ServiceProcess): Promise<string> => {
  const customerUuid = 'Wq7nJhXtGpBmNd3K'
  for (const lastName of ['Byron', 'King', 'Lovelace']) {
    const timestamp = Date.now()
    const customer = { customerUuid, firstName: 'Ada', lastName }
    await pipeline.post(ingress, makeCustomersEvent({ customerUuid, timestamp, customer }).body)
    await untilApplied(pipeline, customerUuid, timestamp)
  }
  return customerUuid
}

/** Sends authentic events that no projector can use. */
const storeUnusable = async (pipeline: Pipeline, ingress: ServiceProcess): Promise<void> => {
  const future = makeCustomersEvent({ timestamp: Date.now() + 400 * 86_400_000 }).body
  for (const body of [
    '{"type":"customers"',
    '[]',
    future,
    '{"id":"1","timestamp":0,"type":"customers","payload":"{}"}',
  ])
    await pipeline.post(ingress, body)
}

const openView = async (page: Page, view: string, customerUuid: string): Promise<void> => {
  await page.locator(`nav a[href="#${view}"]`).click()
  if (view === 'look-up') {
    await page.getByLabel('Value').fill(customerUuid)
    await page.getByRole('button', { name: 'Look up' }).click()
    await page.getByRole('button', { name: 'Reveal personal data' }).click()
    await page.getByRole('button', { name: 'Reveal the raw events' }).click()
    await page.getByText('Details').first().click()
  }
  if (view === 'quarantine') {
    await page.getByRole('row').filter({ hasText: 'not-json' }).getByRole('button').click()
    await page.getByRole('button', { name: 'Reveal the bytes' }).click()
  }
  // Wait for the answers of the reader, and for the first frame of each chart.
  await page.waitForLoadState('networkidle')
  await sleep(1000)
}

const takePictures = async (browser: Browser, url: string, customerUuid: string): Promise<void> => {
  mkdirSync(all, { recursive: true })
  for (const colorScheme of THEMES)
    for (const width of WIDTHS) {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: width < 500 ? 780 : 800 } })
      const page = await context.newPage()
      await page.goto(url)
      await page.getByLabel('API key').fill('full-api-key')
      await page.getByRole('button', { name: 'Sign in' }).click()
      for (const view of VIEWS) {
        await openView(page, view, customerUuid)
        await page.screenshot({ path: join(all, `${view}-${width}-${colorScheme}.png`), fullPage: true })
      }
      await context.close()
    }
}

/** Measures the first view in a browser without a cache, and prints the result. */
const measureFirstView = async (browser: Browser, url: string): Promise<void> => {
  const context = await browser.newContext()
  const page = await context.newPage()
  const start = performance.now()
  await page.goto(url)
  await page.getByLabel('API key').waitFor()
  const ms = performance.now() - start
  const bytes = Number(await page.evaluate('performance.getEntries().reduce((n, e) => n + (e.transferSize ?? 0), 0)'))
  await context.close()
  printNotice(`the first view needs ${Math.round(ms)} ms and ${(bytes / 1000).toFixed(1)} kB`)
}

const cleanUps: (() => Promise<unknown>)[] = []
let exitCode = 0
try {
  execFileSync('npm', ['run', '--silent', 'build', '-w', '@customer-stream/reader'], { cwd: root })
  const browser = await startChromium()
  cleanUps.push(() => browser.close())
  const brokers = await startBrokers({ log: printNotice, signal: interruption.signal })
  cleanUps.push(() => brokers.stop())
  const pipeline = await openPipeline(brokers)
  cleanUps.push(() => pipeline.close())
  const ingress = await pipeline.start('ingress')
  const [projector, reader] = await Promise.all([
    pipeline.start('projector'),
    pipeline.start('reader', { INGRESS_ADMIN_URLS: ingress.adminUrl }),
  ])
  await Promise.all([ingress, projector, reader].map((service) => service.untilReady()))
  const load = createSimulation({
    url: `${ingress.url}/webhooks/mykaarma`,
    secret: pipeline.secret,
    token: pipeline.token,
    // The load continues while the pictures are taken.
    events: (seconds + 60) * 40,
    customers: 500,
    ratePerSecond: 40,
    repeats: 0.1,
    disorder: 0.1,
    other: 0.05,
    seed: 7,
    signal: interruption.signal,
  })
  const running = load.run()
  const customerUuid = await storeAda(pipeline, ingress)
  await storeUnusable(pipeline, ingress)
  await sleep(seconds * 1000)
  await measureFirstView(browser, `${reader.url}/`)
  await takePictures(browser, `${reader.url}/`, customerUuid)
  await running
  for (const name of SHOWN) cpSync(join(all, name), join(root, 'docs', 'pictures', `console-${name}`))
  printNotice(`the pictures are in ${all}`)
} catch (error) {
  exitCode = reportFailure('pictures:console', error)
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}
process.exit(exitCode)
