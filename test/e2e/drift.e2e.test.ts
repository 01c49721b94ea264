/** Differences between the sender's events and its documentation, found by a running projector. */
import { readFileSync } from 'node:fs'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { expect, inject, it, onTestFinished } from 'vitest'
import { commandOf } from './run-command.ts'

it('drift lists an undocumented field until drift --clear deletes the list', { timeout: 120_000 }, async () => {
  const pipeline = await openPipeline(inject('brokers'))
  onTestFinished(() => pipeline.close())
  const run = commandOf(pipeline, inject('brokers'))
  const [ingress, projector] = await Promise.all([pipeline.start('ingress'), pipeline.start('projector')])
  await Promise.all([ingress.untilReady(), projector.untilReady()])

  const event = JSON.parse(makeCustomersEvent({ customerUuid: 'c1' }).body) as { payload: string }
  const payload = JSON.parse(event.payload) as { customerWithVehicles: { customer: object } }
  // The simulator adds the undocumented field `loyaltyTier` at random.
  Object.assign(payload.customerWithVehicles.customer, { loyaltyTier: undefined, loyaltyLevel: 'platinum-secret' })
  const body = JSON.stringify({ ...event, payload: JSON.stringify(payload) })
  expect((await pipeline.post(ingress, body)).status).toBe(202)

  const found = await waitUntil(
    'the difference is stored',
    () => run(['drift', '--json']),
    ({ stdout }) => stdout.includes('loyaltyLevel'),
    { pauseMs: 500, timeoutMs: 30_000 },
  )
  const difference = { kind: 'unknown-field', path: 'customer.loyaltyLevel', type: 'string', events: 1 }
  expect(JSON.parse(found.stdout)).toMatchObject({ differences: [difference], isCleared: false })
  const log = readFileSync(projector.logFile, 'utf8')
  expect(log).toContain('"event":"drift"')
  expect(`${found.stdout}${log}`).not.toContain('platinum')

  const cleared = await run(['drift', '--clear'])
  expect(cleared.stdout).toMatch(/^1 difference between .*\n {2}customer\.loyaltyLevel: unknown-field, string\n/)
  expect(cleared.stdout).toContain('The list was deleted.')
  expect(await run(['drift'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^No differences/) })
})
