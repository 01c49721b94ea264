import { expect, it } from 'vitest'
import { notCaused, rounds } from './causes.ts'
import { alertNames } from './monitoring.ts'

it('each alert has a fault in test/alerts that fires it, or a reason why no fault can fire it', () => {
  const caused = Object.values(rounds).flatMap((causes) => causes.flatMap(({ alerts }) => alerts))
  expect([...caused, ...Object.keys(notCaused)].toSorted()).toEqual(alertNames.toSorted())
})
