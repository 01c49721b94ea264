import { brokers, type Mutation, unit } from './mutation.ts'

const folder = 'packages/schemas/src'

export const schemaMutations: readonly Mutation[] = [
  {
    rule: 'the keys of a customer have a text in braces that is not empty',
    prevents: 'a partition that stands still, because Redis Cluster refuses two keys of different slots',
    file: `${folder}/keys.ts`,
    from: "id.startsWith('}') ?",
    to: "id === '' ?",
    test: unit(`${folder}/keys.test.ts`, 'all keys of a customer are in one slot, and no two customers share a key'),
  },
  {
    rule: 'field names that begin with _ are reserved',
    prevents: 'a payload that forges a version, so that its customer gets no more updates',
    file: `${folder}/customer-hash.ts`,
    from: `name.startsWith('_') ? `,
    to: `name === '' ? `,
    test: unit(
      `${folder}/customer-hash.test.ts`,
      'no field of a customer replaces the metadata or the dealer in the hash',
    ),
  },
  {
    rule: 'ids are compared by UTF-8 bytes',
    prevents: 'two subscribers, or a subscriber and Redis, that disagree which version is newer',
    file: `${folder}/version.ts`,
    from: 'inCodePointOrder(x) - inCodePointOrder(y)',
    to: 'x - y',
    test: unit(`${folder}/version.test.ts`, 'compareVersions orders ids by UTF-8 bytes'),
  },
  {
    rule: 'numbers that do not fit into a double are kept exactly',
    prevents: 'rounded 64-bit ids',
    file: `${folder}/json.ts`,
    from: 'RawJson.rawJSON(value.slice(marker.length))',
    to: 'Number(value.slice(marker.length))',
    test: unit(`${folder}/json.test.ts`, 'the JSON parser keeps the text of a number that a double cannot hold'),
  },
  {
    rule: 'bytes that are not UTF-8 are refused',
    prevents: 'different bytes that become the same text',
    file: `${folder}/charset.ts`,
    from: `new TextDecoder('utf-8', { fatal: true })`,
    to: `new TextDecoder('utf-8')`,
    test: unit(`${folder}/envelope.test.ts`, 'parseEvent refuses bytes that are not UTF-8 instead of replacing them'),
  },
  {
    rule: 'field names are made well-formed before they are counted',
    prevents: 'an old field that stays after a replacement',
    file: `${folder}/customer-hash.ts`,
    from: 'const name = given.toWellFormed()',
    to: 'const name = given',
    test: brokers('services/projector/src/store.int.test.ts', 'removes every old field'),
  },
  {
    rule: 'if two sources have a field of the same name, the earlier source keeps the name',
    prevents: 'a field of the customer that replaces the vehicles beside the customer',
    file: `${folder}/customer-hash.ts`,
    from: 'first !== undefined && first < start',
    to: 'first !== undefined && first > start',
    test: unit(`${folder}/customer-hash.test.ts`, 'each field has the name in the hash that the rules demand'),
  },
  {
    rule: 'if two names become one name, the later value counts',
    prevents: 'one field twice in a command to Redis, and a count of fields that Redis does not have',
    file: `${folder}/customer-hash.ts`,
    from: 'if (place !== undefined) list',
    to: 'if (place === -1) list',
    test: unit(`${folder}/customer-hash.test.ts`, 'each field has the name in the hash that the rules demand'),
  },
  {
    rule: 'a long number is found even at the beginning of the text',
    prevents: 'a rounded number',
    file: `${folder}/json.ts`,
    from: ' || inexactFirst.test(text)',
    to: '',
    test: unit(`${folder}/json.test.ts`, 'the search for long numbers finds each number that a double cannot hold'),
  },
  {
    rule: 'a long number is found after an escaped line break',
    prevents: 'a rounded number in a payload with line breaks',
    file: `${folder}/json.ts`,
    from: '[[:,\\snrt]',
    to: '[[:,\\s]',
    test: unit(`${folder}/json.test.ts`, 'the search for long numbers finds each number that a double cannot hold'),
  },
]
