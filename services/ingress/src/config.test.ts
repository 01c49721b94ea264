import { loadSettings } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { ingressSettings, settingsFaults } from './config.ts'

const faults = (env: Record<string, string>) =>
  settingsFaults(loadSettings(ingressSettings, { KAFKA_BROKERS: 'a:1', MYKAARMA_AUTH: 'off', ...env }))

it('finds nothing wrong with the defaults', () => {
  expect(faults({})).toEqual([])
})

it.each([
  ['a stop too short for the requests under way', { SHUTDOWN_DELAY_MS: '16000' }, 'SHUTDOWN_DEADLINE_MS must be at least', '15000'],
  ['a queue too small for one body', { QUEUE_MAX_BYTES: '1048576' }, 'QUEUE_MAX_BYTES must be at least', '982000'],
  ['a body too large for the spool', { MAX_BODY_BYTES: '16777216', SPOOL_DIR: '/x' }, 'MAX_BODY_BYTES must be at most', '16711680'],
])('refuses %s, and names the bound', (_, env, fault, fitting) => {
  const name = fault.startsWith('SHUTDOWN') ? 'SHUTDOWN_DELAY_MS' : 'MAX_BODY_BYTES'
  expect(faults(env as Record<string, string>)).toEqual([expect.stringContaining(fault)])
  expect(faults({ ...(env as Record<string, string>), [name]: fitting })).toEqual([])
})
