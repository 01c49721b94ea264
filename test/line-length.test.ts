import { globSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const CODE_COLUMNS = 120
const PROSE_COLUMNS = 100

const root = fileURLToPath(new URL('..', import.meta.url))
const filesOf = (pattern: string) =>
  globSync(pattern, {
    cwd: root,
    exclude: (path) => /(^|\/)(node_modules|dist|\.turbo)(\/|$)/.test(path),
  })
const COMMENTS: Readonly<Record<string, RegExp>> = { lua: /^\s*--/, sh: /^\s*#/ }
const COMMENT = /^\s*(\/\/|\/?\*)/

/** Returns the place and the length of each line that is too long. */
const tooLong = (
  files: readonly string[],
  textOf: (content: string) => string,
  limit: (line: string, file: string) => number,
) =>
  files.flatMap((file) =>
    textOf(readFileSync(join(root, file), 'utf8'))
      .split('\n')
      .flatMap((line, i) => (line.length > limit(line, file) ? [`${file}:${i + 1} has ${line.length} columns`] : [])),
  )

it(`each line of code has at most ${CODE_COLUMNS} columns, and each comment at most ${PROSE_COLUMNS}`, () => {
  const files = filesOf('{bench,examples,packages,services,test,tools}/**/*.{ts,tsx,js,mjs,lua,sh}')
  const isComment = (line: string, file: string) => (COMMENTS[extname(file).slice(1)] ?? COMMENT).test(line)
  expect(files.length).toBeGreaterThan(300)
  expect(
    tooLong(
      files,
      (content) => content,
      (line, file) => (isComment(line, file) ? PROSE_COLUMNS : CODE_COLUMNS),
    ),
  ).toEqual([])
})

it(`each line of a document has at most ${PROSE_COLUMNS} columns, except tables, code and addresses`, () => {
  const files = filesOf('**/*.md').filter((file) => !file.startsWith('docs/performance'))
  const withoutCode = (markdown: string) =>
    markdown.replace(/```.*?```/gs, (code) => '\n'.repeat(code.split('\n').length - 1))
  const limit = (line: string) => (/^\s*\||https?:/.test(line) ? Number.POSITIVE_INFINITY : PROSE_COLUMNS)
  expect(files.length).toBeGreaterThan(10)
  expect(tooLong(files, withoutCode, limit)).toEqual([])
})
