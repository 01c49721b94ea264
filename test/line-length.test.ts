import { globSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const CODE_COLUMNS = 120
const PROSE_COLUMNS = 100
/** A main.ts only connects the parts of its service, because no unit test covers its code. */
const MAIN_LINES = 90

const root = fileURLToPath(new URL('..', import.meta.url))
const filesOf = (pattern: string) =>
  globSync(pattern, {
    cwd: root,
    exclude: (path) => /(^|\/)(node_modules|dist|\.turbo)(\/|$)/.test(path),
  })
const COMMENTS: Readonly<Record<string, RegExp>> = { lua: /^\s*--/, sh: /^\s*#/ }
const COMMENT = /^\s*(\/\/|\/?\*)/
const COMMENT_OF_CONFIGURATION = /^\s*#/

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
  const files = [
    ...filesOf('{bench,examples,packages,services,test,tools}/**/*.{ts,tsx,js,mjs,lua,sh}'),
    ...filesOf('{vitest.config.ts,.dependency-cruiser.mjs}'),
  ]
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

/**
 * Lines that their format cannot break: a user of Redis has one line in the ACL file, and a regular
 * expression of PromQL is one text.
 */
const UNBREAKABLE = /^(user |KEYS=)|=~"[^"]{100,}"/

it(`each line of deployment and CI files has at most ${CODE_COLUMNS} columns, each comment ${PROSE_COLUMNS}`, () => {
  const files = [
    ...filesOf('deploy/**/*.{yml,yaml,tpl,conf,sh,service}'),
    ...filesOf('{Dockerfile,.dockerignore,.npmrc,.ci/run,docker-compose.yml}'),
    'deploy/compose/Caddyfile',
  ]
  const limit = (line: string) => {
    if (COMMENT_OF_CONFIGURATION.test(line)) return PROSE_COLUMNS
    return UNBREAKABLE.test(line) ? Number.POSITIVE_INFINITY : CODE_COLUMNS
  }
  expect(files.length).toBeGreaterThan(25)
  expect(tooLong(files, (content) => content, limit)).toEqual([])
})

it(`each line of a document has at most ${PROSE_COLUMNS} columns, except tables, code and addresses`, () => {
  const files = filesOf('**/*.md').filter((file) => !file.startsWith('docs/performance'))
  const withoutCode = (markdown: string) =>
    markdown.replace(/```.*?```/gs, (code) => '\n'.repeat(code.split('\n').length - 1))
  const limit = (line: string) => (/^\s*\||https?:/.test(line) ? Number.POSITIVE_INFINITY : PROSE_COLUMNS)
  expect(files.length).toBeGreaterThan(10)
  expect(tooLong(files, withoutCode, limit)).toEqual([])
})

it(`each main.ts of a service has at most ${MAIN_LINES} lines`, () => {
  const lines = filesOf('services/*/src/main.ts').map(
    (file) => readFileSync(join(root, file), 'utf8').trimEnd().split('\n').length,
  )
  expect(lines).toHaveLength(3)
  expect(Math.max(...lines)).toBeLessThanOrEqual(MAIN_LINES)
})
