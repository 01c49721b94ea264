import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readChangesets } from '@changesets/read'
import { describe, expect, it } from 'vitest'
import { type BreakingChange, breakingChanges, type Changeset, undeclared } from '../tools/contract/compatibility.ts'
import { contractFiles } from '../tools/generate-contract.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readJson = (file: string) => JSON.parse(readFileSync(`${root}/${file}`, 'utf8'))
const schemasPackage: { readonly name: string } = readJson('packages/schemas/package.json')

const folder = 'packages/schemas/released'
const released: Readonly<Record<string, unknown>> = Object.fromEntries(
  readdirSync(`${root}/${folder}`).map((name) => [name, readJson(`${folder}/${name}`)]),
)
const { version } = (released['openapi.json'] as { info: { version: string } }).info
const current = Object.fromEntries(Object.entries(contractFiles()).map(([name, text]) => [name, JSON.parse(text)]))

it('changesets declare each breaking change since the last release (see CONTRIBUTING.md)', async () => {
  const changes = breakingChanges(released, current)
  expect(undeclared(changes, await readChangesets(root), { ...schemasPackage, version })).toEqual([])
})

type Json = { [member: string]: Json } | Json[]
/**
 * New values of members, by the path of the member in the document. A value of undefined removes
 * the member.
 */
type Edit = Readonly<Record<string, unknown>>

const STATE = 'customer-state.schema.json'
const EMAIL = 'properties.customer.properties.emails.anyOf.0.items.properties'
const PROBLEMS = 'components.schemas.Problem.properties.type.enum'
const ANSWERS = 'paths./webhooks/mykaarma.post.responses'
const HEADERS = 'components.messages.CustomersEvent.headers'

/** Returns the breaking changes from a released document to its edited form. */
const changesBy = (document: string, edit: Edit): BreakingChange[] => {
  const edited = structuredClone(released[document]) as Json
  for (const [path, value] of Object.entries(edit)) {
    const names = path.split('.')
    const member = names.pop() ?? ''
    const parent = names.reduce<Json>((at, name) => (at as Record<string, Json>)[name] ?? {}, edited)
    if (value !== undefined) Object.assign(parent, { [member]: value })
    else if (Array.isArray(parent)) parent.splice(Number(member), 1)
    else expect(delete parent[member]).toBe(true)
  }
  expect(edited).not.toEqual(released[document])
  return breakingChanges({ [document]: released[document] }, { [document]: edited })
}

describe('the comparison with the last release', () => {
  it('an unchanged contract has no breaking change', () => {
    expect(breakingChanges(released, structuredClone(released))).toEqual([])
  })

  it.each<[what: string, document: string, member: string, edit: Edit]>([
    ['a removed field', STATE, 'dealerUuid', { 'properties.dealerUuid': undefined }],
    ['a removed field of an array', STATE, 'label', { [`${EMAIL}.label`]: undefined }],
    ['a changed type', STATE, 'receivedAt', { 'properties.receivedAt.type': 'string' }],
    ['a changed type of a nullable field', STATE, 'dealerUuid', { 'properties.dealerUuid.anyOf.0.type': 'integer' }],
    ['a field that may no longer be null', STATE, 'dealerUuid', { 'properties.dealerUuid.anyOf.1': undefined }],
    ['a field that may be null now', STATE, 'receivedAt', { 'properties.receivedAt.type': ['integer', 'null'] }],
    ['a field that becomes required', STATE, 'dealerUuid', { 'required.5': 'dealerUuid' }],
    ['a new required field', STATE, 'segment', { 'properties.segment': { type: 'string' }, 'required.5': 'segment' }],
    ['a field that is no longer required', STATE, 'source', { 'required.4': undefined }],
    ['a narrower range', STATE, 'timestamp', { 'properties.version.properties.timestamp.maximum': 5 }],
    ['a narrower enum', 'openapi.json', 'type', { [`${PROBLEMS}.0`]: undefined }],
    ['a removed answer', 'openapi.json', '413', { [`${ANSWERS}.413`]: undefined }],
    ['a removed topic', 'asyncapi.json', 'state', { 'channels.state': undefined }],
    ['a renamed topic', 'asyncapi.json', 'address', { 'channels.state.address': 'other' }],
    ['a removed header', 'asyncapi.json', 'signature', { [`${HEADERS}.properties.signature`]: undefined }],
    ['a header that becomes required', 'asyncapi.json', 'signature', { [`${HEADERS}.required.0`]: 'signature' }],
  ])('a contract change is breaking: %s', (_, document, member, edit) => {
    expect(changesBy(document, edit)).toContainEqual(expect.objectContaining({ document, member }))
  })

  it('a removed contract document is a breaking change', () => {
    expect(breakingChanges({ [STATE]: released[STATE] }, {})).toEqual([
      expect.objectContaining({ document: STATE, member: STATE }),
    ])
  })

  it.each<[what: string, document: string, edit: Edit]>([
    ['an added optional field', STATE, { 'properties.segment': { type: 'string' } }],
    ['an added optional field of an array', STATE, { [`${EMAIL}.source`]: { type: 'string' } }],
    ['an added field with the name of an annotation', STATE, { [`${EMAIL}.description`]: { type: 'string' } }],
    ['a changed description', STATE, { 'properties.version.description': 'Another.' }],
    ['an added answer', 'openapi.json', { [`${ANSWERS}.418`]: { description: 'Another.' } }],
    ['an added topic', 'asyncapi.json', { 'channels.another': { address: 'another' } }],
    ['an added optional header', 'asyncapi.json', { [`${HEADERS}.properties.sender`]: { type: 'string' } }],
    ['another version', 'asyncapi.json', { 'info.version': 'another' }],
  ])('a contract change is compatible: %s', (_, document, edit) => {
    expect(changesBy(document, edit)).toEqual([])
  })

  it('an added contract document is a compatible change', () => {
    expect(breakingChanges({}, { [STATE]: released[STATE] })).toEqual([])
  })
})

describe('a changeset', () => {
  const removal = { document: STATE, member: 'dealerUuid', description: 'remove properties/dealerUuid' }
  const summary = `\`${STATE}\` has no \`dealerUuid\` any more.`
  const changeset = (type: string, text = summary, name = schemasPackage.name): Changeset => ({
    summary: text,
    releases: [{ name, type }],
  })
  const isDeclared = (by: Changeset, at = '0.1.0') =>
    undeclared([removal], [by], { ...schemasPackage, version: at }).length === 0

  it.each([
    ['major', '0.1.0', true],
    ['minor', '0.1.0', true],
    ['patch', '0.1.0', false],
    ['major', '1.2.3', true],
    ['minor', '1.2.3', false],
  ])('a changeset with a %s bump can declare a breaking change after version %s: %s', (type, at, expected) => {
    expect(isDeclared(changeset(type), at)).toBe(expected)
  })

  it('a changeset declares only the changes in its text, and only for its own package', () => {
    expect(isDeclared(changeset('major', 'Some fields are gone.'))).toBe(false)
    expect(isDeclared(changeset('major', `\`${STATE}\` has no \`departmentUuid\`.`))).toBe(false)
    expect(isDeclared(changeset('major', '`customers.schema.json` has no `dealerUuid`.'))).toBe(false)
    expect(isDeclared(changeset('major', summary, '@customer-stream/subscriber'))).toBe(false)
  })
})
