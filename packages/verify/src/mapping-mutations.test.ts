/**
 * Shows that the verifier catches bugs in the projector's mapping. Each mutation changes a copy of
 * the projector's code. The copy projects a fixed list of records. The verifier compares the result
 * with its own reading of these records.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { compareHash } from './compare-hash.ts'
import { createEvidence } from './evidence.ts'
import { sha256 } from './fingerprint.ts'
import { readEvent } from './read-event.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

interface Record {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer
  readonly headers: { readonly 'content-type'?: Buffer }
}
interface Hash {
  readonly customerUuid: string
  readonly version: { readonly timestamp: number; readonly id: string }
  readonly fieldsAndValues: readonly string[]
}
type Project = (
  records: readonly Record[],
  options: { topic: string; partition: number; projection: number; maxFutureMs: number; now: number },
) => { readonly newest: readonly Hash[]; readonly poison: readonly { readonly record: Record }[] }
type Redis = Map<string, Map<string, string>>
type Write = (redis: Redis, customerUuid: string, fields: Map<string, string>) => void

const TOPIC = 'customers'
const NOW = 1_800_000_000_000
const MAX_FUTURE_MS = 86_400_000
const OPTIONS = {
  topic: TOPIC,
  partition: 3,
  projection: 2,
  maxFutureMs: MAX_FUTURE_MS,
  now: NOW + 5,
  named: new Set<string>(),
}

const body = (customer: string, { id = 'e1', timestamp = '1700000000000', beside = '', envelope = '' } = {}) =>
  `{"type":"customers","id":${JSON.stringify(id)},"timestamp":${timestamp}${envelope},"payload":${JSON.stringify(
    `{"customerWithVehicles":{"customer":{${customer}}${beside}}}`,
  )}}`

const customers = [
  body('"customerUuid":"no-dealer","dealerUuid":"of the customer"'),
  body(
    `"customerUuid":"full","id":12345678901234567890,"score":1.50,"thousand":1e3,"huge":1e400,"whole":7,
     "firstName":"Renée","empty":"","company":null,"isBusiness":false,"isVip":true,
     "phoneNumbers":[{"phoneNumber":"+13105550100","okToCall":true,"okToText":false,"label":null}],
     "emails":[],"bestTimeToContact":{"startTime":"9","id":98765432109876543210},"favouriteColour":"blue",
     "_eventId":"forged","__deep":"x","__proto__":"kept","dealerUuid":"of the customer",
     "vehicles":"of the customer","numberText":"1.50","flagText":"true","blank":" a "`,
    {
      beside:
        ',"vehicles":[{"vin":"1","id":11111111111111111111}],"addresses":[{"city":"Köln"}],' +
        '"note":"beside","firstName":"beside"',
      envelope: ',"dealeruuid":"d1","departmentuuid":"p1"',
    },
  ),
  body('"customerUuid":"inside","addresses":[{"city":"inside"}],"vehicles":null'),
  body('"customerUuid":"both","addresses":[{"city":"inside"}]', { beside: ',"addresses":[{"city":"beside"}]' }),
  body('"customerUuid":"bare"', { timestamp: '"1700000000000"' }),
  body('"customerUuid":"replaced","nickname":"Old"', { id: 'a' }),
  body('"customerUuid":"replaced","firstName":"New"', { id: 'b', timestamp: '1700000000001' }),
  body('"customerUuid":"late","firstName":"New"', { id: 'a', timestamp: '1700000000001' }),
  body('"customerUuid":"late","firstName":"Old"', { id: 'z' }),
  body('"customerUuid":"tied","firstName":"greater"', { id: '\u{10000}' }),
  body('"customerUuid":"tied","firstName":"lesser"', { id: '\ue000' }),
  body('"customerUuid":"repeated","firstName":"Same"'),
  body('"customerUuid":"repeated","firstName":"Same"'),
  body('"customerUuid":"tied-late","firstName":"lesser"', { id: 'a' }),
  body('"customerUuid":"tied-late","firstName":"greater"', { id: 'b' }),
  body('"customerUuid":"legacy"').replace('"type":', '"type":null,"dataType":'),
  body('"customerUuid":"long-time"', { timestamp: '1700000000000.000' }),
  body('"customerUuid":"latin","firstName":"José"'),
  body('"customerUuid":"soon"', { timestamp: String(NOW + MAX_FUTURE_MS) }),
  JSON.stringify({
    type: 'customers',
    id: 'o',
    timestamp: 1_700_000_000_000,
    payload: { customerWithVehicles: { customer: { customerUuid: 'object', n: 5 } } },
  }),
]
// In the first chunk, a usable event supersedes two unusable events. In the second chunk, an
// unusable event supersedes no event.
const superseded = [
  body('"customerUuid":"superseded","firstName":"broken"]', { id: 'a' }),
  body('"customerUuid":"superseded","firstName":"usable"', { id: 'b' }),
  body('"customerUuid":"superseded","firstName":"broken"]', { id: 'b' }),
  body('"customerUuid":"newest is broken","firstName":"older"', { id: 'a' }),
  body('"customerUuid":"newest is broken","firstName":"usable"', { id: 'b' }),
  body('"customerUuid":"newest is broken","firstName":"broken"]', { id: 'c' }),
]
const unusable = [
  'no json',
  '[]',
  '{}',
  '{"type":"appointments","id":"e"}',
  '{"type":"customers","payload":"no json"}',
  '{"type":"customers","payload":[]}',
  '{"type":"customers","payload":{}}',
  body('"firstName":"no uuid"'),
  body('"customerUuid":"x"', { id: '' }),
  body('"customerUuid":"x"', { timestamp: '0' }),
  body('"customerUuid":"x"', { timestamp: '"yesterday"' }),
  body('"customerUuid":"x"', { timestamp: String(NOW + MAX_FUTURE_MS + 1) }),
]
const CHUNK = 3
const records: Record[] = [...superseded, ...customers, ...unusable].map((value, offset) => {
  const [, customerUuid] = /"customerUuid\\":\\"([^\\]+)/.exec(value) ?? []
  return {
    offset: String(offset),
    timestamp: String(NOW),
    key: customerUuid === undefined ? null : Buffer.from(customerUuid),
    value: Buffer.from(value, value.includes('latin') ? 'latin1' : 'utf8'),
    headers: value.includes('latin') ? { 'content-type': Buffer.from('text/plain;charset=ISO-8859-1') } : {},
  }
})

const replace: Write = (redis, customerUuid, fields) => redis.set(customerUuid, fields)

const later = (a: Hash['version'], b: Hash['version'] | undefined) =>
  b === undefined ||
  a.timestamp > b.timestamp ||
  (a.timestamp === b.timestamp && Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)) > 0)

/**
 * Runs the projector's code over all records in small chunks. The simulated Redis keeps the newest
 * version of each customer.
 */
const run = (project: Project, write: Write): { redis: Redis; quarantined: Set<string> } => {
  const redis: Redis = new Map()
  const versions = new Map<string, Hash['version']>()
  const quarantined = new Set<string>()
  for (let start = 0; start < records.length; start += CHUNK) {
    const { newest, poison } = project(records.slice(start, start + CHUNK), OPTIONS)
    for (const { record } of poison) quarantined.add(record.offset)
    for (const { customerUuid, version, fieldsAndValues } of newest) {
      if (!later(version, versions.get(customerUuid))) continue
      versions.set(customerUuid, version)
      const fields = new Map<string, string>()
      for (let i = 0; i < fieldsAndValues.length; i += 2)
        fields.set(fieldsAndValues[i] ?? '', fieldsAndValues[i + 1] ?? '')
      write(redis, customerUuid, fields)
    }
  }
  return { redis, quarantined }
}

/** Returns the verifier's findings about the result of a run. */
const findingsOf = ({ redis, quarantined }: ReturnType<typeof run>): string[] => {
  const evidence = createEvidence()
  try {
    for (const { key, value, timestamp, offset, headers } of records) {
      const reading = readEvent(value, {
        key,
        receivedAt: Number(timestamp),
        maxFutureMs: MAX_FUTURE_MS,
        contentType: headers['content-type']?.toString(),
      })
      const place = `3/${offset}`
      const record = { receivedAt: Number(timestamp), digest: Buffer.from(sha256(value)) }
      if (reading.usable) evidence.event(reading.event, place, record.receivedAt, true)
      else evidence.unusable({ ...record, place, reason: reading.reason, supersedable: reading.supersedable })
      if (quarantined.has(offset)) evidence.quarantined(place, record.digest)
    }
    const end = BigInt(records.length)
    const ranges = new Map([[3, { start: 0n, end }]])
    const comparison = {
      evidence,
      topic: TOPIC,
      ranges,
      endNow: () => end,
      projection: 2,
      maxFutureMs: MAX_FUTURE_MS,
      now: NOW + 10,
    }
    const said: string[] = []
    for (const batch of evidence.expected(5)) {
      for (const expected of batch) {
        const finding = compareHash(expected, Object.fromEntries(redis.get(expected.customerUuid) ?? []), comparison)
        if (finding !== 'equal')
          said.push(`${expected.customerUuid}: ${typeof finding === 'object' ? finding.wrong : finding}`)
      }
    }
    return [...said, ...evidence.notQuarantined(0).places.map((place) => `${place}: not in quarantine`)]
  } finally {
    evidence.close()
  }
}

type Change = readonly [file: string, from: string, to: string]

/** Node loads each copy itself, because Vite would need more CPU time to transform it. */
const require = createRequire(import.meta.url)

/** Loads a copy of the projector's project.ts and of its schemas, with the change. */
const load = (change?: Change): Project => {
  const folder = mkdtempSync(join(tmpdir(), 'mutation-'))
  folders.push(folder)
  cpSync(join(root, 'packages/schemas/src'), folder, {
    recursive: true,
    filter: (path) => !/test\.ts$|fixtures/.test(path),
  })
  cpSync(join(root, 'services/projector/src/project.ts'), join(folder, 'project.ts'))
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const edit = (file: string, from: string, to: string) => {
    const parts = readFileSync(join(folder, file), 'utf8').split(from)
    expect(parts, `${file} has the text once: ${from}`).toHaveLength(2)
    writeFileSync(join(folder, file), parts.join(to))
  }
  edit('project.ts', "'@customer-stream/schemas'", "'./index.ts'")
  if (change) edit(...change)
  return (require(join(folder, 'project.ts')) as { readonly project: Project }).project
}

it('verify finds no problem with the unchanged projector', () => {
  expect(findingsOf(run(load(), replace))).toEqual([])
})

const inMapping = (from: string, to: string): Change => ['customer-hash.ts', from, to]
const eachField = (code: string) =>
  inMapping('const field = escapeName(name)', `${code}; const field = escapeName(name)`)

it.each<[string, Change]>([
  ['loses phone numbers', eachField("if (name === 'phoneNumbers') continue")],
  ['loses booleans', eachField("if (typeof value === 'boolean') continue")],
  ['loses booleans that are false', eachField('if (value === false) continue')],
  ['loses empty text', eachField("if (text === '') continue")],
  ['loses empty lists', eachField("if (text === '[]') continue")],
  ['loses a field that the vendor added', eachField("if (name === 'favouriteColour') continue")],
  ['loses fields beside the customer', inMapping("add('customerWithVehicles', other)", '')],
  [
    'loses vehicles',
    inMapping("add('customerWithVehicles', { vehicles, addresses })", "add('customerWithVehicles', { addresses })"),
  ],
  [
    'loses addresses beside the customer',
    inMapping("add('customerWithVehicles', { vehicles, addresses })", "add('customerWithVehicles', { vehicles })"),
  ],
  [
    'prefers the addresses inside the customer',
    inMapping(
      "add('customerWithVehicles', { vehicles, addresses })\n  add('customer', customer)",
      "add('customer', customer)\n  add('customerWithVehicles', { vehicles, addresses })",
    ),
  ],
  [
    'prefers a field beside the customer',
    inMapping(
      "add('customer', customer)\n  add('customerWithVehicles', other)",
      "add('customerWithVehicles', other)\n  add('customer', customer)",
    ),
  ],
  [
    'drops the second of two fields with the same name',
    inMapping('else places.set(key,', 'else if (!taken) places.set(key,'),
  ],
  [
    'swaps dealer and department',
    [
      'state.ts',
      'dealeruuid: dealerUuid, departmentuuid: departmentUuid',
      'departmentuuid: dealerUuid, dealeruuid: departmentUuid',
    ],
  ],
  ['loses addresses inside the customer', ['state.ts', 'isInside ? inside : beside', 'beside']],
  ['loses the dealer', inMapping('{ dealerUuid, departmentUuid })', '{ departmentUuid })')],
  [
    'lets a customer field use the name of the dealer field',
    inMapping("|| (source !== 'envelope' && envelopeFields.has(field))", ''),
  ],
  ['does not escape underscores', inMapping("name.startsWith('_') ?", "name === '' ?")],
  ['escapes every name', inMapping("name.startsWith('_') ?", "name !== '' ?")],
  [
    'writes null as text',
    inMapping(
      'if (value === null || value === undefined) return undefined',
      "if (value === undefined) return undefined\n  if (value === null) return 'null'",
    ),
  ],
  ['writes text with quotes', inMapping("if (typeof value === 'string') return value", '')],
  [
    'trims text',
    inMapping("if (typeof value === 'string') return value", "if (typeof value === 'string') return value.trim()"),
  ],
  [
    'writes booleans as 1 and 0',
    inMapping(
      "if (typeof value === 'string') return value",
      "if (typeof value === 'string') return value\n  if (typeof value === 'boolean') return value ? '1' : '0'",
    ),
  ],
  [
    'writes numbers with two decimals',
    inMapping(
      "if (typeof value === 'string') return value",
      "if (typeof value === 'string') return value\n  if (typeof value === 'number') return value.toFixed(2)",
    ),
  ],
  [
    'writes numeric text as a number',
    inMapping(
      "if (typeof value === 'string') return value",
      "if (typeof value === 'string') return value && Number.isFinite(Number(value)) ? String(Number(value)) : value",
    ),
  ],
  ['loses digits of large numbers', ['json.ts', 'String(Number(literal)) === literal', 'true || literal']],
  [
    'writes large numbers as text',
    ['json.ts', 'RawJson.rawJSON(value.slice(marker.length))', 'value.slice(marker.length)'],
  ],
  [
    'swaps the times of receipt and application',
    inMapping('set(META.receivedAt, String(receivedAt))', 'set(META.receivedAt, String(appliedAt))'),
  ],
  ['writes the time of application in seconds', inMapping('String(appliedAt)', 'String(Math.round(appliedAt / 1000))')],
  ['writes no time of application', inMapping('set(META.appliedAt, String(appliedAt))', '')],
  ['names the next offset as the source', inMapping('source.offset}`', 'Number(source.offset) + 1}`')],
  ['names another partition as the source', inMapping('source.partition}/', '0}/')],
  ['names no source', inMapping('set(META.source,', 'if (source.partition < 0) set(META.source,')],
  ['writes an older projection number', inMapping('String(projection)', "'1'")],
  ['writes no event id', inMapping('set(META.eventId, version.id)', '')],
  ['writes another event id', inMapping('set(META.eventId, version.id)', "set(META.eventId, '0')")],
  [
    'writes a changed id as the customer id',
    ['envelope.ts', 'asText(customer.customerUuid)', 'asText(customer.customerUuid)?.toUpperCase()'],
  ],
  ['refuses a payload that is an object', ['envelope.ts', 'let value = payload\n', 'let value: unknown\n']],
  ['reads every record as UTF-8', ['read-record.ts', '{ contentType: contentTypeOf(record) }', '{}']],
  ['ignores the legacy type', ['envelope.ts', '?? asText(envelope.dataType)', '']],
  ['refuses a timestamp that is text', ['version.ts', "typeof value === 'string' && /^\\d+$/.test(value)", 'false']],
  [
    'accepts an event without an id',
    [
      'version.ts',
      "if (id === undefined || id === null || id === '') return failed('missing-event-id', 'the event has no id')",
      '',
    ],
  ],
  ['accepts a timestamp of 0', ['version.ts', 'timestamp >= 1', 'timestamp >= 0']],
  [
    'compares ids by UTF-16 code units',
    ['version.ts', 'unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit', 'unit'],
  ],
  [
    'ignores the id in a tie',
    ['version.ts', 'a.timestamp - b.timestamp || compareUtf8(a.id, b.id)', 'a.timestamp - b.timestamp'],
  ],
  [
    'applies the oldest event of a chunk',
    ['project.ts', 'compareVersions(b.version, a.version)', 'compareVersions(a.version, b.version)'],
  ],
  ['applies the first event of a chunk', ['project.ts', 'compareVersions(b.version, a.version)', '0']],
  ['drops an unusable event that no event supersedes', ['project.ts', 'poison.push(hash)', 'void hash']],
  [
    'lets an unusable event supersede older events',
    ['project.ts', 'poison.push(hash)\n        continue', 'poison.push(hash)\n        break'],
  ],
  [
    'accepts an event from the future',
    ['read-record.ts', 'if (isTooFarInFuture(', 'if (receivedAt < 0 && isTooFarInFuture('],
  ],
  ['refuses an event exactly at the limit of the future', ['version.ts', '> maxFutureMs', '>= maxFutureMs']],
  ['drops an unusable record', ['project.ts', 'poison.push(one)', 'void one']],
])('verify finds a problem if the projector %s', (_, change) => {
  expect(findingsOf(run(load(change), replace))).not.toEqual([])
})

it.each<[string, Write]>([
  [
    'keeps the fields of older events',
    (redis, customerUuid, fields) => redis.set(customerUuid, new Map([...(redis.get(customerUuid) ?? []), ...fields])),
  ],
  [
    'never replaces a hash',
    (redis, customerUuid, fields) => redis.has(customerUuid) || redis.set(customerUuid, fields),
  ],
  [
    'writes one customer into another',
    (redis, customerUuid, fields) => redis.set(customerUuid === 'both' ? 'inside' : customerUuid, fields),
  ],
  ['loses a customer', (redis, customerUuid, fields) => customerUuid === 'bare' || redis.set(customerUuid, fields)],
])('verify finds a problem if the store %s', (_, write) => {
  expect(findingsOf(run(load(), write))).not.toEqual([])
})
