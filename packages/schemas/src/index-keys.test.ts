import { describe, expect, it } from 'vitest'
import { currentTerms, filedTerms, indexKey, isPending } from './index-keys.ts'

describe('the key of an index term', () => {
  it('the key of a term has the name of the index, and the value as the hash tag of Redis Cluster', () => {
    expect(indexKey('phone:+14152002671')).toBe('mykaarma:index:phone:{+14152002671}')
    expect(indexKey('key:d/k', 'p:')).toBe('p:index:key:{d/k}')
  })

  it('the key of a term keeps colons of the value', () => {
    expect(indexKey('dealer:a:b', '')).toBe('index:dealer:{a:b}')
  })
})

describe('the field _index', () => {
  it('a hash without the field _index has no terms', () => {
    expect([currentTerms(undefined), filedTerms(undefined)]).toEqual([[], []])
  })

  it('a field _index without ? has the terms of the stored event', () => {
    const field = '["dealer:d","phone:+1"]'
    expect(currentTerms(field)).toEqual(['dealer:d', 'phone:+1'])
    expect(filedTerms(field)).toEqual(['dealer:d', 'phone:+1'])
  })

  it('a field _index with ? has the terms of the stored event in its last line', () => {
    const field = '?["dealer:d","phone:+1"]\n\n["dealer:d","phone:+2"]'
    expect(currentTerms(field)).toEqual(['dealer:d', 'phone:+2'])
    expect(filedTerms(field)).toEqual(['dealer:d', 'phone:+1', 'phone:+2'])
  })

  it('only the pending form of _index begins with a question mark', () => {
    expect([undefined, '', '["phone:+1"]', '?["phone:+1"]\n'].map(isPending)).toEqual([false, false, false, true])
  })

  it('a field _index with ? has an empty line for an event without terms', () => {
    expect(currentTerms('?["phone:+1"]\n')).toEqual([])
    expect(filedTerms('?["phone:+1"]\n')).toEqual(['phone:+1'])
  })
})
