import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { mutations } from './mutations.ts'

const textOf = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')

/** Returns the source of the scenarios. Their names are the titles of the fault suite. */
const testsIn = (file: string): string =>
  file.endsWith('-faults.e2e.test.ts') ? textOf(file.replace('.e2e.test.ts', '.ts')) : ''

/** A placeholder in a title, e.g. of `it.each`. */
const PLACEHOLDER = String.raw`(?:%[a-z]|\$[\w.]+|\$\{[^}]*\})`

/**
 * Returns true if the source contains the title. The source may have a placeholder instead of some
 * words.
 */
const hasTitle = (source: string, title: string): boolean => {
  const words = title.split(' ')
  const ranges = words.flatMap((_, from) => words.slice(from).map((_word, more) => [from, from + more + 1] as const))
  return (
    source.includes(title) ||
    ranges.some(([from, to]) => {
      const [before, value, after] = [words.slice(0, from), words.slice(from, to), words.slice(to)]
      const pattern = [...before.map(RegExp.escape), PLACEHOLDER, ...after.map(RegExp.escape)].join(' ')
      return value.length < words.length && source.includes(value.join(' ')) && new RegExp(pattern).test(source)
    })
  )
}

// This test only checks that the list agrees with the code. `npm run test:mutations` shows that
// each test fails with its mutation.
it.each(mutations)(
  'the code has the text of the mutation of "$rule" once, and the test file has its title',
  ({ file, from, test }) => {
    expect(textOf(file).split(from)).toHaveLength(2)
    const source = `${textOf(test.file)}${testsIn(test.file)}`
    expect(hasTitle(source, test.title), `${test.file} has no title "${test.title}"`).toBe(true)
  },
)

it('each mutation has its own name', () => {
  expect(new Set(mutations.map(({ rule }) => rule)).size).toBe(mutations.length)
})
