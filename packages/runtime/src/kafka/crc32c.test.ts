import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { crc32c } from './crc32c.ts'

const ofKafkajs = createRequire(import.meta.url)('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number

it('crc32c returns the check value of the standard', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
})

it('crc32c agrees with kafkajs for any part of any bytes', () => {
  const bytesAndEnds = fc
    .uint8Array({ maxLength: 200 })
    .chain((bytes) => fc.tuple(fc.constant(bytes), fc.nat(bytes.length), fc.nat(bytes.length)))
  fc.assert(
    fc.property(bytesAndEnds, ([bytes, a, b]) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)]
      expect(crc32c(bytes, start, end)).toBe(ofKafkajs(Buffer.from(bytes.subarray(start, end))))
    }),
    { seed: 1, numRuns: 1000 },
  )
})
