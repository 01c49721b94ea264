import { expect, it } from 'vitest'
import { matchesTag, readVersionText, versionText } from './version-text.ts'

it('a version is one short word of ASCII, whatever characters its id has', () => {
  for (const id of ['a7b9', 'é 😀', '"\r\n,', 'x'.repeat(100_000), '😀'.repeat(1000)]) {
    const text = versionText({ timestamp: 5, id })
    expect(text).toMatch(/^5:[!-~]{1,1000}$/)
    expect(matchesTag(`"1", W/"${text}"`, `"${text}"`)).toBe(true)
  }
  expect(versionText({ timestamp: 5, id: 'a'.repeat(1001) })).not.toBe(
    versionText({ timestamp: 5, id: 'b'.repeat(1001) }),
  )
})

it('a version with any id can be read', () => {
  expect(readVersionText('5:a:b\n c')).toEqual({ timestamp: 5, id: 'a:b\n c' })
})
