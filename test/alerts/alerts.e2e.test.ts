/** `npm run test:alerts`: each alert fires for its fault, and ends after the repair. */
import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { prometheus } from '../prometheus.ts'
import type { Cause } from './cause.ts'
import { rounds } from './causes.ts'
import { drawPictures } from './pictures.ts'
import { openSite, type Site } from './site.ts'

const seed = Number(process.env.FAULT_SEED ?? randomInt(2 ** 31))
const seconds = (ms: number) => (ms / 1000).toFixed(1).padStart(6)

/** Folder for pictures of the dashboard. `npm run test:alerts -- --pictures` sets it. */
const picturesFolder = process.env.ALERTS_PICTURES
/** The time that the pictures show before the first fault and after the last repair. */
const MARGIN_SECONDS = 15

const lines: string[] = []
/** Unix time of the beginning of each round, in seconds. */
const marks: number[] = []
let site: Site

/** Injects a fault, waits until its alerts fire, and repairs it. */
const fire = async ({ alerts, inject, repair }: Cause) => {
  const startedAt = performance.now()
  const fired = new AbortController()
  const injected = inject(site, fired.signal)
  const all = alerts.map(async (alert) => {
    await site.untilFired(alert)
    return { alert, afterMs: performance.now() - startedAt }
  })
  // If the injection fails, do not wait for the alerts.
  try {
    return await Promise.race([Promise.all(all), injected.then(() => Promise.all(all))])
  } finally {
    fired.abort()
    await injected
    await repair(site)
  }
}

const fireAndEnd = async (cause: Cause) => {
  const times = await fire(cause)
  const repairedAt = performance.now()
  await Promise.all(
    times.map(async ({ alert, afterMs }) => {
      await site.untilSilent(alert)
      lines.push(`${alert.padEnd(24)} ${seconds(afterMs)} ${seconds(performance.now() - repairedAt)}  ${cause.fault}`)
    }),
  )
}

const draw = async (folder: string) => {
  await sleep(MARGIN_SECONDS * 1000)
  const span = { from: marks[0]! - MARGIN_SECONDS, to: Date.now() / 1000, marks }
  const processes = [...site.ingresses, ...site.projectors].map(
    ({ name, process: { adminUrl } }, i) => [adminUrl, `${name} ${1 + (i % 2)}`] as const,
  )
  const instances = [...processes, [site.reader.adminUrl, 'reader'] as const].map(
    ([url, name]) => [new URL(url).host, name] as const,
  )
  await drawPictures(site.monitoring, span, new Map(instances), folder)
}

describe.skipIf(prometheus === undefined || process.platform !== 'linux')('alerts', () => {
  beforeAll(async () => {
    site = await openSite(seed)
  }, 180_000)
  afterAll(async () => {
    await site?.close()
    process.stderr.write(
      `\n${'alert'.padEnd(24)}  fires   ends  fault (seconds, seed ${seed})\n${lines.join('\n')}\n\n`,
    )
  }, 60_000)

  it.each(Object.entries(rounds))(
    'each alert fires for its fault and ends after the repair: %s',
    async (_, causes) => {
      await site.untilSilent(...causes.flatMap(({ alerts }) => alerts))
      marks.push(Date.now() / 1000)
      await Promise.all(causes.map(fireAndEnd))
    },
    300_000,
  )

  it.skipIf(picturesFolder === undefined)(
    'pictures of the dashboard are drawn from the data of this run',
    async () => {
      await draw(picturesFolder!)
    },
    60_000,
  )

  it('after all faults, Redis has the newest event of each customer in Kafka', async () => {
    expect(await site.pipeline.verify()).toMatchObject({ wrongCount: 0, notQuarantined: { count: 0 } })
  }, 120_000)
})
