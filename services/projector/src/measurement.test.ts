import type { Diagnosis } from '@customer-stream/runtime'
import type { Watermarks } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { createMeasurement } from './measurement.ts'

const setUp = () => {
  const watermarks: ReadonlyMap<number, Watermarks> = new Map([[0, { low: '0', stable: '10', high: '10' }]])
  const state: { outage?: Error; foreignMember?: string } = {}
  const reports: [string, Diagnosis | undefined][] = []
  const loaded: unknown[] = []
  const measure = createMeasurement({
    progress: {
      measure: async () => {
        if (state.outage) throw state.outage
        return watermarks
      },
      get foreignMember() {
        return state.foreignMember
      },
    },
    projection: { positions: { loadNewlyLed: async (found) => void loaded.push(found) } },
    obstacles: { report: (task, diagnosis) => reports.push([task, diagnosis]) },
  })
  return { measure, state, watermarks, reports, loaded }
}

it('a measurement reports a foreign member of the consumer group until the member has left', async () => {
  const { measure, state, reports } = setUp()
  state.foreignMember = 'another application is in the consumer group g'
  await measure()
  delete state.foreignMember
  await measure()
  expect(reports).toEqual([
    ['foreign-members', { blocked: true, reason: 'group', message: 'another application is in the consumer group g' }],
    ['foreign-members', undefined],
  ])
})

it('a measurement loads the positions of partitions with a new leader', async () => {
  const { measure, watermarks, loaded } = setUp()
  await measure()
  expect(loaded).toEqual([watermarks])
})

it('a measurement fails, and keeps the reported problem, if Kafka does not answer', async () => {
  const { measure, state, reports, loaded } = setUp()
  state.outage = new Error('no answer')
  await expect(measure()).rejects.toBe(state.outage)
  expect([reports, loaded]).toEqual([[], []])
})
