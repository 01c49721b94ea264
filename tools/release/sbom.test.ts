import { expect, it } from 'vitest'
import { productionPackages, sbomProblems } from './sbom.ts'

const packages = {
  '': { name: 'root', version: '1.0.0', devDependencies: { shared: '2.0.0', tool: '1.0.0' } },
  'services/a': { name: '@x/a', version: '1.0.0', dependencies: { '@x/lib': '1.0.0', nested: '1.0.0' } },
  'packages/lib': {
    name: '@x/lib',
    version: '1.0.0',
    dependencies: { shared: '2.0.0' },
    peerDependencies: { absent: '*' },
  },
  'node_modules/@x/lib': { resolved: 'packages/lib', link: true },
  'node_modules/@x/a': { resolved: 'services/a', link: true },
  'node_modules/shared': { version: '2.0.0' },
  'node_modules/tool': { version: '1.0.0' },
  'node_modules/nested': { version: '1.0.0', dependencies: { shared: '1.0.0', deep: '1.0.0' } },
  'node_modules/nested/node_modules/shared': { version: '1.0.0' },
  'node_modules/nested/node_modules/deep': { version: '1.0.0', dependencies: { shared: '1.0.0', nested: '1.0.0' } },
}
const expected = ['@x/a@1.0.0', '@x/lib@1.0.0', 'deep@1.0.0', 'nested@1.0.0', 'shared@1.0.0', 'shared@2.0.0']

it('the package list of an image has the packages that Node finds in the folders', () => {
  expect(productionPackages(packages, 'services/a')).toEqual(expected)
})

it('a lock file that lacks a needed package is reported', () => {
  const { 'node_modules/tool': _, ...others } = packages
  const needs = { ...others, 'services/b': { name: '@x/b', version: '1.0.0', dependencies: { tool: '1.0.0' } } }
  expect(() => productionPackages(needs, 'services/b')).toThrow('package-lock.json lacks tool, which services/b needs')
})

it('an SBOM must list exactly the packages of the image', () => {
  const components = expected.map((name) => ({ purl: `pkg:npm/${name.replace(/^@/, '%40')}` }))
  expect(sbomProblems({ components }, expected)).toEqual([])
  expect(sbomProblems({ components: [...components.slice(1), { purl: 'pkg:npm/tool@1.0.0' }] }, expected)).toEqual([
    'the SBOM lacks @x/a@1.0.0',
    'the SBOM has tool@1.0.0, the image does not',
  ])
})
