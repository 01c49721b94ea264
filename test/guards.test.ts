import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { guards } from './guards/guards.ts'

const pathOf = (file: string) => fileURLToPath(new URL(`../${file}`, import.meta.url))

// That each test fails without its guard is for `npm run test:guards` to see; this keeps its list true to the code meanwhile.
it.each(guards)('the guard "$guard" stands where the list says, once, and its test is there', ({ file, from, test }) => {
  expect(readFileSync(pathOf(file), 'utf8').split(from)).toHaveLength(2)
  expect(existsSync(pathOf(test.file))).toBe(true)
})

it('names each guard once', () => {
  expect(new Set(guards.map(({ guard }) => guard)).size).toBe(guards.length)
})
