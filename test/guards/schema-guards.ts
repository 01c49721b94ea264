import { brokers, type Guard, unit } from './guard.ts'

const folder = 'packages/schemas/src'

export const schemaGuards: readonly Guard[] = [
  {
    guard: 'names that begin with _ are ours',
    prevents: 'a payload that forges a version, and freezes its customer',
    file: `${folder}/customer.ts`,
    from: `name.startsWith('_') ? `,
    to: `name === '' ? `,
    test: unit(`${folder}/customer.test.ts`, 'lets no field forge our metadata'),
  },
  {
    guard: 'ids are compared by UTF-8 bytes',
    prevents: 'two subscribers, or Redis and they, that disagree on who is newer',
    file: `${folder}/version.ts`,
    from: 'inCodePointOrder(x) - inCodePointOrder(y)',
    to: 'x - y',
    test: unit(`${folder}/version.test.ts`, 'orders ids by their UTF-8 bytes'),
  },
  {
    guard: 'numbers beyond a double are kept',
    prevents: 'ids of 64 bits that are rounded',
    file: `${folder}/json.ts`,
    from: 'RawJson.rawJSON(value.slice(marker.length))',
    to: 'Number(value.slice(marker.length))',
    test: unit(`${folder}/json.test.ts`, 'keeps a number that cannot be a double'),
  },
  {
    guard: 'bytes that are no UTF-8 are refused',
    prevents: 'different bytes that become the same text',
    file: `${folder}/charset.ts`,
    from: `new TextDecoder('utf-8', { fatal: true })`,
    to: `new TextDecoder('utf-8')`,
    test: unit(`${folder}/envelope.test.ts`, 'refuses bytes that are not UTF-8'),
  },
  {
    guard: 'names of fields are well-formed before they are counted',
    prevents: 'an old field that survives a replacement',
    file: `${folder}/customer.ts`,
    from: 'const name = given.toWellFormed()',
    to: 'const name = given',
    test: brokers('services/projector/src/store.int.test.ts', 'removes every old field'),
  },
]
