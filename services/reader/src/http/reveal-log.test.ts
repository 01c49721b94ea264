import { expect, it, onTestFinished, vi } from 'vitest'
import { createRevealLog } from './reveal-log.ts'

const start = () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const lines: string[] = []
  return { lines, reveals: createRevealLog((key, customers) => lines.push(`${key} ${customers}`)) }
}

it('the reveals of a second are one log line for each key, which names each customer once', () => {
  const { lines, reveals } = start()
  reveals.add('crm', ['a', 'b'])
  reveals.add('bi', ['a'])
  vi.advanceTimersByTime(900)
  reveals.add('crm', ['a', 'c'])
  expect(lines).toEqual([])
  vi.advanceTimersByTime(100)
  expect(lines).toEqual(['crm a,b,c', 'bi a'])
  reveals.add('crm', ['a'])
  vi.advanceTimersByTime(1000)
  expect(lines.slice(2)).toEqual(['crm a'])
})

it('a line of the reveal log has at most 100 customers, and no customer is left out', () => {
  const { lines, reveals } = start()
  const customers = Array.from({ length: 250 }, (_, i) => `c${i}`)
  reveals.add('crm', customers)
  expect(lines.map((line) => line.split(',').length)).toEqual([100, 100])
  vi.advanceTimersByTime(1000)
  expect(lines.flatMap((line) => line.replace('crm ', '').split(','))).toEqual(customers)
})

it('a flush logs the collected reveals immediately, and logs no reveal twice', () => {
  const { lines, reveals } = start()
  reveals.add('crm', ['a'])
  reveals.flush()
  vi.advanceTimersByTime(2000)
  expect(lines).toEqual(['crm a'])
})
