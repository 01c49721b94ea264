import { expect, it } from 'vitest'
import { type RebuildReport, rebuildLines } from './print-rebuild.ts'

const report: RebuildReport = {
  projection: 3,
  partitions: [],
  left: 0,
  done: 100,
  isFilling: false,
  isComplete: true,
  perSecond: 0,
  secondsLeft: null,
  others: [],
  deletable: [],
  deleted: [],
}

it('the report of a complete rebuild lists the steps of the next rebuild', () => {
  expect(rebuildLines(report)).toEqual([
    'Projection 3 is complete: all records of the raw topic are applied.',
    'To rebuild Redis: start a second set of projectors with PROJECTION_VERSION=4 and their own',
    'CONSUMER_GROUP_ID, then run PROJECTION_VERSION=4 customer-stream rebuild --wait.',
  ])
})

it('the report of a running rebuild estimates its end and advises to keep the old projectors', () => {
  const partitions = [
    { partition: 0, position: '40', end: '100', left: 60, done: 40, isFilling: false, isComplete: false },
  ]
  const running = { ...report, partitions, left: 60, done: 40, isComplete: false, perSecond: 2, secondsLeft: 30 }
  const others = [{ projection: 2, left: 0, isMoving: true }]
  expect(rebuildLines({ ...running, others })).toEqual([
    'Projection 3 is not complete: 40 % of 100 records, 2/s, about 30 s left.',
    '  partition 0: 60 records left (40 of 100)',
    'Keep the old projectors running until the rebuild is complete. Until then they bring new events to Redis.',
    'Positions of projection 2: keep them. They say which records are already in quarantine.',
  ])
})

it('the report of a rebuild without progress lists what to check', () => {
  const still = { ...report, left: 60, done: 0, isComplete: false }
  expect(rebuildLines(still)).toEqual([
    'Projection 3 is not complete: 0 % of 60 records, no position moves.',
    'Check that projectors with PROJECTION_VERSION=3 run, and read their /readyz.',
  ])
})

it('after a rebuild, the report says to stop old projectors before old positions are deleted', () => {
  const others = [
    { projection: 1, left: 5, isMoving: false },
    { projection: 2, left: 0, isMoving: true },
  ]
  const lines = rebuildLines({ ...report, others, deletable: [1] })
  expect(lines.slice(1)).toEqual([
    'Projectors with PROJECTION_VERSION=2 still run. If PROJECTION_VERSION=3 ' +
      'customer-stream verify finds no problem, stop them.',
    'Positions of projection 1: may be deleted (customer-stream rebuild --delete-old), if its projectors are stopped.',
    'Positions of projection 2: keep them. They say which records are already in quarantine.',
  ])
  expect(rebuildLines({ ...report, others, deleted: [1] })).toContain('Positions of projection 1: deleted.')
})
