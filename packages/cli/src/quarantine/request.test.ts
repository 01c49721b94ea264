import { describe, expect, it } from 'vitest'
import { auditText, readRequest } from './request.ts'

describe('the name of the person who asks', () => {
  it.each([' ', '\t\n'])('a blank name in --requested-by is refused: %j', (name) => {
    const given = { texts: { 'requested-by': name }, flags: new Set(['execute']) }
    expect(() => readRequest(given)).toThrow('--requested-by is blank')
  })
})

describe('a text for the audit', () => {
  it('a text for the audit is refused if it is blank or too long, and is undefined if it is missing', () => {
    expect(() => auditText('note', ' ')).toThrow('--note is blank')
    expect(() => auditText('note', 'x'.repeat(1001))).toThrow('--note must have at most 1000 characters')
    expect(auditText('note', undefined)).toBeUndefined()
  })
})
