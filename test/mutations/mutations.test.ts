import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { guards } from './guards.ts'

const pathOf = (file: string) => fileURLToPath(new URL(`../../${file}`, import.meta.url))

// `npm run test:mutations` shows that each test fails without its guard. This test keeps the list
// consistent with the code.
it.each(guards)(
  'the guard "$guard" stands where the list says, once, and its test is there',
  ({ file, from, test }) => {
    expect(readFileSync(pathOf(file), 'utf8').split(from)).toHaveLength(2)
    expect(existsSync(pathOf(test.file))).toBe(true)
  },
)

it('names each guard once', () => {
  expect(new Set(guards.map(({ guard }) => guard)).size).toBe(guards.length)
})
