import { expect, it } from 'vitest'
import { releaseChangelog, releaseChart, releaseUpgradeGuide } from './texts.ts'

const release = { version: '0.2.0', date: '2026-11-27' }
const changelog = `# Changelog

## Unreleased

### Fixed

- A bug.

## 0.1.0 – 2026-01-02

- Before.
`

it('a release moves the changelog entries under its heading, and leaves Unreleased empty', () => {
  expect(releaseChangelog(changelog, release, [])).toBe(`# Changelog

## Unreleased

## 0.2.0 – 2026-11-27

### Fixed

- A bug.

## 0.1.0 – 2026-01-02

- Before.
`)
})

it('a release copies the texts of the changesets into the changelog', () => {
  expect(releaseChangelog('# Changelog\n\n## Unreleased\n', release, ['One\ntwo.', ' \n', 'Three.'])).toBe(`# Changelog

## Unreleased

## 0.2.0 – 2026-11-27

### Contract

- One
  two.
- Three.
`)
})

it.each([
  ['without an entry', '# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Before.\n', 'has no entry'],
  ['without the heading', '# Changelog\n\n- Before.\n', 'must have one heading'],
  ['with two such headings', `${changelog}\n## Unreleased\n\n- Again.\n`, 'must have one heading'],
])('a release refuses a changelog %s', (_, text, problem) => {
  expect(() => releaseChangelog(text, release, [])).toThrow(problem)
})

it('a release replaces Unreleased only in the headings of the upgrade guide', () => {
  const guide = '## From 0.1.0 to Unreleased\n\nFrom 0.1.0 to Unreleased: nothing.\n\n## From 0.0.9 to 0.1.0\n'
  expect(releaseUpgradeGuide(guide, release)).toBe(guide.replace('Unreleased\n', '0.2.0\n'))
})

it('a release sets the version of the chart and of its images', () => {
  expect(releaseChart(`name: x\nversion: 0.1.0\nappVersion: '0.1.0'\n`, release)).toBe(
    `name: x\nversion: 0.2.0\nappVersion: '0.2.0'\n`,
  )
})
