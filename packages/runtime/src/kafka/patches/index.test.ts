import { createRequire } from 'node:module'
import { expect, it, onTestFinished } from 'vitest'
import { patchKafkajs } from './index.ts'

it('a service with another version of kafkajs ends at its start, because no patch was tried with it', () => {
  const installed = createRequire(import.meta.url)('kafkajs/package.json') as { version: string }
  const { version } = installed
  onTestFinished(() => void Object.assign(installed, { version }))
  installed.version = '2.3.0'
  expect(() => patchKafkajs()).toThrow(`The patches of kafkajs are written for version ${version}, found 2.3.0`)
})
