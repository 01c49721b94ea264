import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { guards } from './guards.ts'

const pathOf = (file: string) => fileURLToPath(new URL(`../../${file}`, import.meta.url))

// This test only checks that the list agrees with the code. `npm run test:mutations` shows that
// each test fails without its guard.
it.each(guards)(
  'the code has the text of the guard "$guard" once, and its test file exists',
  ({ file, from, test }) => {
    expect(readFileSync(pathOf(file), 'utf8').split(from)).toHaveLength(2)
    expect(existsSync(pathOf(test.file))).toBe(true)
  },
)

it('each guard has its own name', () => {
  expect(new Set(guards.map(({ guard }) => guard)).size).toBe(guards.length)
})
