import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { leaksIn } from '@customer-stream/testing'
import { expect, inject, it, onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }

const filesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : [])

/** Lists the folders in which a demo stores the data of its brokers, the ledger and the logs. */
const foldersOf = (pid: number, temporary: string) => [
  ...['run', 'pipelines'].flatMap((name) =>
    filesIn(join(root, '.data', name)).filter((folder) => folder.startsWith(`${pid}-`)),
  ),
  ...readdirSync(temporary),
]

/**
 * Lists the commands of all processes that a demo has started, found by the TMPDIR of the demo.
 * Empty on a system without /proc.
 */
const processesOf = (temporary: string): string[] =>
  filesIn('/proc').flatMap((pid) => {
    try {
      const isOurs = /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`TMPDIR=${temporary}\0`)
      return isOurs ? [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 200)] : []
    } catch {
      return [] // Ignore the error: the process has ended, or belongs to another user.
    }
  })

type Kind = 'given' | 'local'

const environments = (): Record<Kind, NodeJS.ProcessEnv> => ({
  given: {
    KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
    REDIS_URL: inject('brokers').redisUrl,
    CUSTOMER_STREAM_BROKERS: '',
  },
  local: { CUSTOMER_STREAM_BROKERS: 'local' },
})

/** Creates fake programs in place of the browser's opener. They write each address to a file. */
const fakeOpener = () => {
  const folder = mkdtempSync(join(tmpdir(), 'opener-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'opened')
  for (const name of ['xdg-open', 'open'])
    writeFileSync(join(folder, name), `#!/bin/sh\necho "$@" >>'${file}'\n`, { mode: 0o755 })
  return {
    PATH: `${folder}:${process.env.PATH}`,
    opened: () => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []),
  }
}

const startDemo = (kind: Kind, options: readonly string[], env: NodeJS.ProcessEnv = {}) => {
  const temporary = mkdtempSync(join(tmpdir(), 'demo-'))
  const [, ...args] = (scripts.demo ?? '').split(' ')
  const demo = spawn(process.execPath, [...args, ...options], {
    cwd: root,
    env: { ...process.env, NODE_ENV: '', ...environments()[kind], ...env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void demo.kill('SIGKILL'))
  const ended = once(demo, 'exit')
  let output = ''
  for (const stream of [demo.stdout, demo.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      output += text
    })
  return {
    demo,
    ended,
    output: () => output,
    folders: () => foldersOf(Number(demo.pid), temporary),
    processes: () => processesOf(temporary),
  }
}

type Demo = ReturnType<typeof startDemo>

/**
 * Waits until the output of the demo, or one of its processes, shows the moment. Does not list the
 * processes for a moment in the output, because that reads a file of every process of the machine.
 */
const untilMoment = ({ demo, output, folders, processes }: Demo, place: 'output' | 'processes', moment: RegExp) =>
  waitUntil(
    `the demo shows ${moment}`,
    () => {
      const texts = place === 'output' ? [output()] : processes()
      const hasCome = folders().length > 0 && texts.some((text) => moment.test(text))
      return [demo.exitCode, hasCome, output().slice(-1000)]
    },
    ([code, hasCome]) => code !== null || hasCome === true,
    { timeoutMs: 150_000 },
  )

/** Sends Ctrl-C. The demo must remove everything, and say so in one line. */
const interrupt = async ({ demo, ended, output, folders, processes }: Demo, exitCode: number) => {
  const before = output()
  demo.kill('SIGINT')
  expect(await ended).toEqual([exitCode, null])
  // /proc may list a killed process for a moment.
  await waitUntil('no process is left', processes, (left) => left.length === 0, { timeoutMs: 1000 })
  expect(folders()).toEqual([])
  const said = output().slice(before.length)
  expect(said).toContain('demo: interrupted; stopping and removing everything\n')
  expect(said.split('demo: ')).toHaveLength(2)
}

it.each([
  ['while its brokers start', 'local', 'processes', /java .*kafka/],
  ['while its services start', 'given', 'output', /✔ brokers/],
  ['during its events', 'given', 'output', /events .* \d+ %/],
  ['while no Kafka broker leads', 'local', 'output', /✂ leader/],
  ['while its ingress is killed', 'given', 'output', /✂ ingress/],
  ['during its verdict', 'given', 'output', /The verdict/],
] as const)(
  'a demo interrupted %s leaves no process and no file',
  {
    timeout: 180_000,
  },
  async (_, kind, place, moment) => {
    const demo = startDemo(kind, ['--keep', '--events', '400'])
    await untilMoment(demo, place, moment)
    await interrupt(demo, 130)
  },
)

it('a demo with --open leaves its servers running and opens the console, until Ctrl-C removes everything', {
  timeout: 180_000,
}, async () => {
  const { PATH, opened } = fakeOpener()
  const demo = startDemo('given', ['--open', '--no-faults', '--events', '400'], { PATH })
  await untilMoment(demo, 'output', /Everything is left running/)
  await waitUntil('a browser was opened', opened, (found) => found.length > 0)
  const [address = '', ...others] = opened()
  expect([others, demo.output()]).toEqual([[], expect.stringContaining(address)])
  const page = await fetch(address)
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('<title>customer-stream</title>')])
  expect(demo.output()).not.toContain('✂')
  await interrupt(demo, 0)
  await expect(fetch(address)).rejects.toThrow('fetch failed')
})

it("a demo shows numbers that add up, the late event, the verdict and a subscriber's output", {
  timeout: 180_000,
}, async () => {
  const { ended, output, folders, processes } = startDemo('given', ['--events', '2000'])
  expect(await ended, output()).toEqual([0, null])
  const text = output()
  expect(text).toBe(stripVTControlCharacters(text))
  const number = (digits = '') => Number(digits.replaceAll(',', ''))
  const sums = [...text.matchAll(/^✔ [\w ]+? ([\d,]+) = ((?:[\d,]+ [^+\n]+\s+\+ )*[\d,]+ .*)$/gm)]
  expect(sums.length).toBe(7)
  for (const [line, total, parts = ''] of sums)
    expect(
      parts.split(' + ').reduce((sum, part) => sum + number(/[\d,]+/.exec(part)?.[0]), 0),
      line,
    ).toBe(number(total))
  expect(text).toMatch(/ 3\. .* King .* late: ignored/)
  expect(text).toMatch(/ lastName +Lovelace/)
  expect(text).toMatch(/✂ ingress[\s\S]*✔ ingress/)
  const [, document = ''] =
    /What a subscriber sees\n✔ table .* [\d.]+ s\n✔ in the table .*\n((?: {2}.*\n)+)/.exec(text) ?? []
  expect(document.replaceAll(/\s+/g, ' ')).toContain('"lastName": "Lovelace"')
  const [application = ''] = /What an application sees[\s\S]*?\n\n/.exec(text) ?? []
  expect(application).toMatch(/✔ phone .* finds who calls .*\n {2}\{ "customerUuid"[\s\S]*"lastName": "Lovelace"/)
  expect(application).toMatch(/✔ live .* \d+ ms after its POST/)
  // The demo shows one customer on purpose, and no other data of customers.
  const shown = /✔ customer[\s\S]*?\n\n|What a subscriber sees[\s\S]*?\n\n|What an application sees[\s\S]*?\n\n/g
  expect(text.match(shown)).toHaveLength(3)
  expect(leaksIn(text.replaceAll(shown, ''), ['desk-secret', 'desk-token'])).toEqual([])
  expect(text.trimEnd().split('\n').at(-1)).toMatch(/^✔ Every promise was kept \([\d.]+ s\)$/)
  expect([folders(), processes()]).toEqual([[], []])
})
