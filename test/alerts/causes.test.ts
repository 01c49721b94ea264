import { expect, it } from 'vitest'
import { notCaused, rounds } from './causes.ts'
import { alertNames } from './monitoring.ts'

it('each alert of the rules has one fault that fires the alert, or a reason why no fault can', () => {
  const caused = Object.values(rounds).flatMap((causes) => causes.flatMap(({ alerts }) => alerts))
  expect([...caused, ...Object.keys(notCaused)].toSorted()).toEqual(alertNames.toSorted())
})
