import { Writable } from 'node:stream'
import { WriteStream } from 'node:tty'
import { stripVTControlCharacters } from 'node:util'
import { expect, it, onTestFinished, vi } from 'vitest'
import { barText } from './layout.ts'
import { createScreen } from './screen.ts'

const createStream = (columns: number | undefined, isTTY = true) => {
  let written = ''
  const stream = Object.assign(
    new Writable({
      write(chunk, _, done) {
        written += String(chunk)
        done()
      },
    }),
    { isTTY, columns: columns as number, getColorDepth: () => 4 },
  )
  return { stream: stream as unknown as NodeJS.WriteStream, written: () => written }
}

/** Returns the lines that a terminal would show, with wrapping at its last column. */
const shownLines = (written: string, columns: number): string[] => {
  const lines = ['']
  for (const character of stripVTControlCharacters(written))
    if (character === '\n') lines.push('')
    else if (character === '\r') lines[lines.length - 1] = ''
    else if (lines.at(-1)!.length >= columns) lines.push(character)
    else lines[lines.length - 1] += character
  return lines
}

const bar = { label: 'events', total: 100, perSecond: 10, secondsLeft: 5, tail: '12 behind' }

it.each([60, 200])('a terminal of %i columns shows one bar below all other lines', (columns) => {
  const { stream, written } = createStream(columns)
  const screen = createScreen(stream, {})
  let done = 0
  const hide = screen.show({ text: (width) => barText({ ...bar, done }, width), share: () => done / 100 })
  for (done = 0; done < 100; done += 10) screen.print(`line ${done}`)
  const lines = shownLines(written(), columns)
  expect(lines.slice(0, -1)).toEqual(Array.from({ length: 10 }, (_, i) => `line ${i * 10}`))
  expect(lines.at(-1)).toMatch(/^ {2}events +█+░+ +90 %/)
  hide()
  expect(shownLines(written(), columns).at(-1)).toBe('')
  screen.close()
})

it('a terminal shows marks in colours, unless NO_COLOR is set', () => {
  // Node decides by FORCE_COLOR first, then by getColorDepth(), which also reads CI.
  vi.stubEnv('FORCE_COLOR', undefined)
  onTestFinished(() => void vi.unstubAllEnvs())
  const printed = (env: NodeJS.ProcessEnv) => {
    const { stream, written } = createStream(80)
    const getColorDepth = () => WriteStream.prototype.getColorDepth({ TERM: 'xterm', ...env })
    const screen = createScreen(Object.assign(stream, { getColorDepth }), {})
    screen.print('✔ kept')
    screen.close()
    return written()
  }
  expect(printed({})).toContain('\x1b[32m✔\x1b[39m kept')
  expect(printed({ NO_COLOR: '1' })).not.toContain('\x1b[32m')
})

it('a file or pipe gets one line per quarter of the progress, without control characters', () => {
  vi.useFakeTimers()
  const { stream, written } = createStream(undefined, false)
  const screen = createScreen(stream, {})
  let done = 0
  const hide = screen.show({ text: (width) => barText({ ...bar, done }, width), share: () => done / 100 })
  for (done = 0; done < 100; done += 1) vi.advanceTimersByTime(200)
  hide()
  vi.useRealTimers()
  expect(written().match(/ \d+ %/g)).toEqual([' 25 %', ' 50 %', ' 75 %', ' 100 %'])
  expect(written()).toBe(stripVTControlCharacters(written()))
})

it('in CI the screen shows no live bar', () => {
  const { stream, written } = createStream(80)
  const screen = createScreen(stream, { CI: 'true' })
  screen.show({ text: () => 'live' })
  screen.print('line')
  expect(stripVTControlCharacters(written())).toBe('line\n')
})

it('a finished step shows a tick and its duration, and a failed step shows no tick', async () => {
  const { stream, written } = createStream(undefined, false)
  const screen = createScreen(stream, {})
  await screen.during(
    'brokers',
    'starting',
    async () => 3,
    (count) => `${count} brokers`,
  )
  await expect(
    screen.during(
      'services',
      'starting',
      () => Promise.reject(new Error('no')),
      () => 'ready',
    ),
  ).rejects.toThrow('no')
  expect(written()).toMatch(/^✔ brokers {3}3 brokers +0\.0 s\n$/)
})

it('a closed screen writes nothing', () => {
  const { stream, written } = createStream(80)
  const screen = createScreen(stream, {})
  screen.show({ text: () => 'live' })
  screen.close()
  screen.print('late')
  expect(shownLines(written(), 80)).toEqual([''])
})
