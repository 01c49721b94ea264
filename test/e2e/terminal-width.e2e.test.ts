/** The reports of the commands fit the width of a terminal, and no text is missing. */
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, untilApplied } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { commandOf } from './run-command.ts'

const CUSTOMER = 'Wq7nJhXtGpBmNd3KvRzYf2kAcEiLoU8sTPeCbHwOyM1'
let pipeline: Pipeline
let run: ReturnType<typeof commandOf>
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  run = commandOf(pipeline, inject('brokers'))
  const services = await Promise.all([pipeline.start('ingress'), pipeline.start('projector')])
  await Promise.all(services.map((service) => service.untilReady()))
  const [ingress] = services
  for (const timestamp of [20, 10, Date.now() + 7 * 86_400_000, 30])
    await pipeline.post(ingress, makeCustomersEvent({ customerUuid: CUSTOMER, timestamp, id: `e${timestamp}` }).body)
  await untilApplied(pipeline, CUSTOMER, 30)
  await pipeline.verify()
})
afterAll(() => pipeline.close())

const widest = (text: string) => Math.max(...text.split('\n').map((line) => line.length))
const withoutSpaces = (text: string) => text.replaceAll(/\s/g, '')

const COMMANDS = [
  ['customer', 'show', CUSTOMER],
  ['customer', 'history', CUSTOMER],
  ['erase', CUSTOMER, '--status'],
  ['quarantine', 'list'],
  ['quarantine', 'redrive', '--reason', 'too-far-in-future'],
  ['quarantine', 'drop', '--reason', 'too-far-in-future'],
  ['topics', 'check'],
  ['verify', '--state'],
  ['verify', '--indexes', '--repair'],
  ['drift'],
  ['rebuild'],
  ['status'],
].map((words) => [words.join(' '), words] as const)

it.each(COMMANDS)(
  'the report of %s fits a terminal of 40, 80 and 200 columns, and no text is missing',
  { timeout: 120_000 },
  async (_, words) => {
    const piped = await run(words)
    expect(piped.stdout).not.toBe('')
    for (const columns of [40, 80, 200]) {
      const shown = await run(words, { NO_COLOR: '1' }, columns)
      expect(widest(shown.stdout), shown.stdout).toBeLessThanOrEqual(columns)
      expect(widest(shown.stderr), shown.stderr).toBeLessThanOrEqual(columns)
      // The report of status has times that change.
      if (words[0] !== 'status') expect(withoutSpaces(shown.stdout)).toBe(withoutSpaces(piped.stdout))
    }
  },
)
