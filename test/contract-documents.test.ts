import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fromFile, Parser } from '@asyncapi/parser'
import { PROBLEM_CONTENT_TYPE } from '@customer-stream/runtime'
import { parseEvent, readErasureRecord, stateOf, writeState } from '@customer-stream/schemas'
import { makeCustomersEvent, makeOtherEvent, Random } from '@customer-stream/simulator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { entryRecord } from '../packages/quarantine/src/audit.ts'
import { problemDocument, problems } from '../services/ingress/src/http/problem.ts'
import {
  problemDocument as readerProblemDocument,
  problems as readerProblems,
} from '../services/reader/src/http/problem.ts'
import { ERASURE_SCHEMA, EVENT_TYPES, eventSchemaName, STATE_SCHEMA } from '../tools/contract/json-schemas.ts'
import { contractFolder } from '../tools/generate-contract.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readJson = (file: string) => JSON.parse(readFileSync(file, 'utf8'))
const schemas = readdirSync(contractFolder).filter((name) => name.endsWith('.schema.json'))

/**
 * Opens the validator. The validator is strict, so an unknown keyword or a misspelt type is an
 * error.
 */
const open = () => new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true })
const compile = (name: string) => open().compile(readJson(join(contractFolder, name)))
const validators = new Map(schemas.map((name) => [name, compile(name)]))
const errorsOf = (name: string, value: unknown) => {
  const validate = validators.get(name) ?? compile(name)
  validate(value)
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
}

describe('the JSON Schemas', () => {
  it.each(schemas)('a strict validator accepts %s as a JSON Schema of the dialect 2020-12', (name) => {
    const { $schema, $id } = readJson(join(contractFolder, name))
    expect([$schema, $id]).toEqual(['https://json-schema.org/draft/2020-12/schema', expect.stringMatching(/^urn:/)])
    expect(compile(name)).toBeTypeOf('function')
  })

  it.each([
    ['customers', 'customers.derived-as-delivered.json'],
    ['customers', 'customers.parsed.json'],
    ['mpis', 'mpis.partial.json'],
    ['messages', 'messages.partial.json'],
    ['service-orders', 'service-orders.partial.json'],
  ] as const)('the JSON Schema of %s accepts the sample %s, as delivered and with a parsed payload', (type, sample) => {
    const event = readJson(join(root, 'packages/schemas/src/fixtures', sample))
    expect(errorsOf(eventSchemaName(type), event)).toEqual([])
    const payload = typeof event.payload === 'string' ? JSON.parse(event.payload) : event.payload
    expect(errorsOf(eventSchemaName(type), { ...event, payload })).toEqual([])
  })

  it('each JSON Schema accepts the simulated events of its own type, and refuses all other types', () => {
    const random = new Random(1)
    const events = [
      ...EVENT_TYPES.filter((type) => type !== 'customers').map((type) => makeOtherEvent({ type }, random)),
      makeCustomersEvent({ payloadForm: 'object' }),
      makeCustomersEvent({ legacy: true }),
    ]
    for (const { type, body } of events) {
      const accepting = EVENT_TYPES.filter((each) => errorsOf(eventSchemaName(each), JSON.parse(body)).length === 0)
      expect(accepting).toEqual([type])
    }
  })

  it.each([
    ['/payload', { payload: [] }],
    ['/timestamp', { timestamp: 1.5 }],
    ['/id', { id: 7 }],
    ['/payload/customerWithVehicles/customer', { payload: { customerWithVehicles: { customer: {} } } }],
  ])('customers.schema.json refuses an event with a wrong %s', (path, change) => {
    const event = { ...JSON.parse(makeCustomersEvent().body), ...change }
    expect(errorsOf('customers.schema.json', event).join('\n')).toContain(path)
  })

  it("the state schema accepts the projector's document, and refuses one without a version", () => {
    const event = parseEvent(Buffer.from(makeCustomersEvent().body))
    if (!event.ok || event.value.kind !== 'customers') throw new Error('not a customers event')
    const state = stateOf(event.value, { topic: 't', partition: 0, offset: '1', receivedAt: 1 })
    if (!state.ok) throw new Error(state.detail)
    const document = JSON.parse(writeState(state.value))
    expect(errorsOf(STATE_SCHEMA, document)).toEqual([])
    expect(errorsOf(STATE_SCHEMA, { ...document, version: undefined })).toEqual([
      " must have required property 'version'",
    ])
    expect(errorsOf(STATE_SCHEMA, { ...document, version: { timestamp: '5', id: '' } })).toHaveLength(2)
  })

  it.each([
    [true, {}],
    [true, { scope: 'until-now' }],
    [true, { reason: '' }],
    [true, { reason: '😀'.repeat(1000) }],
    [true, { unknown: 1 }],
    [false, { reason: 'x'.repeat(1001) }],
    [false, { requestedBy: undefined }],
    [false, { scope: 'all' }],
    [false, { erasedAt: 0 }],
    [false, { erasedAt: 2 ** 53 }],
    [false, { erasedAt: '1' }],
  ])('the erasure schema and the projector agree (valid: %s) about %j', (isValid, change) => {
    const erasure = { erasedAt: 1728542299000, scope: 'forever', reason: 'asked', requestedBy: 'ops', ...change }
    const value = JSON.stringify(erasure)
    expect(readErasureRecord({ key: Buffer.from('a'), value: Buffer.from(value) }).ok).toBe(isValid)
    expect(errorsOf(ERASURE_SCHEMA, JSON.parse(value)).length === 0).toBe(isValid)
  })
})

describe('asyncapi.json', () => {
  const file = join(contractFolder, 'asyncapi.json')

  // The time limit is long because the parser needs seconds of CPU.
  it('the parser of AsyncAPI accepts asyncapi.json', { timeout: 60_000 }, async () => {
    const { document, diagnostics } = await fromFile(new Parser(), file).parse()
    expect(
      diagnostics.filter(({ severity }) => severity <= 1).map(({ message, path }) => [path.join('.'), message]),
    ).toEqual([])
    expect(document?.allChannels().length).toBe(6)
  })

  it('a strict validator accepts the schemas in asyncapi.json, which refers to each schema file', () => {
    const messages = Object.values<{ headers?: object; payload?: { $ref?: string } }>(
      readJson(file).components.messages,
    )
    const ajv = open()
    for (const { headers, payload } of messages) {
      if (headers) expect(ajv.compile(headers)).toBeTypeOf('function')
      if (payload && !payload.$ref) expect(ajv.compile(payload)).toBeTypeOf('function')
    }
    const payloads = messages.flatMap(({ payload }) => payload?.$ref ?? [])
    expect(payloads.toSorted()).toEqual(schemas.map((name) => `./${name}`).toSorted())
  })
})

it('the schema in asyncapi.json accepts the audit entries that commands write', () => {
  const { AuditEntry } = readJson(join(contractFolder, 'asyncapi.json')).components.messages
  const entry = { partition: 3, offset: '17', topicId: null, action: 'dropped', at: 1, requestedBy: 'ops' } as const
  const { value } = entryRecord('t', { ...entry, note: 'a test', origin: 't/0/1@2' })
  const validate = open().compile(AuditEntry.payload)
  expect([validate(JSON.parse(String(value))), validate({ ...entry, offset: 17 })]).toEqual([true, false])
})

it.each(['openapi.json', 'reader-openapi.json'])(
  'the linter of OpenAPI accepts %s',
  { timeout: 60_000 },
  async (name) => {
    const file = join(contractFolder, name)
    const env = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }
    const words = ['lint', '--extends=spec', '--format=json', file]
    const { stdout } = await promisify(execFile)(`${root}node_modules/.bin/redocly`, words, { cwd: root, env }).catch(
      (error: { stdout: string }) => error,
    )
    expect(JSON.parse(stdout).problems).toEqual([])
  },
)

describe('openapi.json', () => {
  const file = join(contractFolder, 'openapi.json')

  it('openapi.json describes each answer of the ingress to a delivered event', () => {
    const { paths, components } = readJson(file)
    const { responses } = paths['/webhooks/mykaarma'].post
    const isProblem = open().compile(components.schemas.Problem)
    const types = Object.keys(problems) as (keyof typeof problems)[]
    const described = types.filter((type) => {
      const document = problemDocument(type, 'detail')
      const schema = responses[document.status]?.content[PROBLEM_CONTENT_TYPE].schema
      if (!schema) return false
      const { allOf, properties } = schema
      expect(allOf).toEqual([{ $ref: '#/components/schemas/Problem' }])
      return isProblem(document) && open().validate({ type: 'object', properties }, document)
    })
    // These two problem types are answers to another path or method.
    expect(types.filter((type) => !described.includes(type))).toEqual(['not-found', 'method-not-allowed'])
  })
})

describe('reader-openapi.json', () => {
  const { paths, components } = readJson(join(contractFolder, 'reader-openapi.json'))

  it('reader-openapi.json describes each answer of the reader', () => {
    const isProblem = open().compile(components.schemas.Problem)
    const described = Object.values<Record<string, { responses: object }>>(paths).flatMap((methods) =>
      Object.values(methods)
        .flatMap(({ responses }) => Object.values(responses))
        .flatMap((response) => {
          const { content } = response as {
            content?: Record<string, { schema: { properties: { type: { enum: [] } } } }>
          }
          return content?.[PROBLEM_CONTENT_TYPE]?.schema.properties.type.enum ?? []
        }),
    )
    const types = Object.keys(readerProblems) as (keyof typeof readerProblems)[]
    expect(types.filter((type) => !isProblem(readerProblemDocument(type, 'detail')))).toEqual([])
    // These two problem types are answers to another path or method.
    expect(types.filter((type) => !described.includes(type as never))).toEqual(['not-found', 'method-not-allowed'])
  })

  it('reader-openapi.json has a strict schema of a customer, which refuses a customer without a version', () => {
    const validate = open().compile(components.schemas.Customer)
    const source = { topic: 't', partition: 0, offset: '1' }
    const version = { timestamp: 1, id: 'a' }
    const customer = {
      customerUuid: 'c',
      version,
      customer: { customerUuid: 'c' },
      receivedAt: 1,
      appliedAt: 2,
      source,
    }
    expect([validate(customer), validate({ ...customer, version: undefined })]).toEqual([true, false])
  })
})
