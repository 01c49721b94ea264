import { createRequire } from 'node:module'
import { expect, it, onTestFinished } from 'vitest'
import { patchKafkajs } from './index.ts'

it('a service ends at its start if it has a version of kafkajs for which no patch was tested', () => {
  const installed = createRequire(import.meta.url)('kafkajs/package.json') as { version: string }
  const { version } = installed
  onTestFinished(() => void Object.assign(installed, { version }))
  installed.version = '2.3.0'
  expect(() => patchKafkajs()).toThrow(`The patches of kafkajs are written for version ${version}, found 2.3.0`)
})
