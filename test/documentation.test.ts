import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readResults, reportFiles } from '../bench/report.ts'
import { configurationFile, configurationPage } from '../docs/generate-configuration.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'packages/schemas/README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
const read = (page: string) => readFileSync(join(root, page), 'utf8')
const withoutCode = (markdown: string) => markdown.replace(/```.*?```/gs, '')
/** As GitHub makes them. */
const anchorsOf = (markdown: string) =>
  [...withoutCode(markdown).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- _]/gu, '')
      .replaceAll(' ', '-'),
  )

it('docs/configuration.md says what the settings schemas say (if not: npm run docs)', () => {
  expect(readFileSync(configurationFile, 'utf8')).toBe(configurationPage())
})

it('docs/performance.md and its plots say what bench/results.json says (if not: npm run docs)', () => {
  const results = readResults()
  const files = results ? reportFiles(results) : {}
  expect(Object.fromEntries(Object.keys(files).map((file) => [file, existsSync(join(root, file)) ? read(file) : 'missing']))).toEqual(files)
})

describe.each(pages)('%s', (page) => {
  const markdown = read(page)

  it('links only to what is there', () => {
    const broken = [...withoutCode(markdown).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
      if (/^[a-z]+:/.test(target)) return []
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : relative(root, join(root, dirname(page), path))
      if (!existsSync(join(root, file))) return [target]
      return anchor === undefined || anchorsOf(read(file)).includes(anchor) ? [] : [target]
    })
    expect(broken).toEqual([])
  })

  it('names only files, npm scripts and settings that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    const commands = [...markdown.matchAll(/npm run (?:--silent )?([a-z0-9:-]+)/g)].map(([, name = '']) => name)
    expect(commands.filter((name) => !(name in scripts))).toEqual([])
    const files = [...markdown.matchAll(/`((?:packages|services|test|docs|bench)\/[\w./-]+\.\w+)`/g)].map(([, path = '']) => path)
    expect(files.filter((path) => !existsSync(join(root, path)))).toEqual([])
    const settings = [...markdown.matchAll(/`((?:KAFKA|REDIS|MYKAARMA|CONSUMER|QUEUE|SHUTDOWN)_[A-Z_]+)`/g)].map(([, name = '']) =>
      name.replace(/_FILE$/, ''),
    )
    const known = new Set([...configurationPage().matchAll(/^\| `([A-Z_]+)`/gm)].map(([, name]) => name))
    expect(settings.filter((name) => !known.has(name) && !/^(KAFKA|REDIS|MYKAARMA)_$/.test(name))).toEqual([])
  })
})
