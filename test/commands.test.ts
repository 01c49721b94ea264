import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { scripts: Record<string, string> }
const commands = {
  demo: '--keeep',
  dev: '--help-me',
  look: '--nothing',
  stack: '--broker',
  simulate: '--evnts',
  verify: '--legder',
  soak: '--minute',
  bench: '--scael',
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a script of package.json like npm, but without npm. */
const run = (name: string, option: string): Promise<Ended> =>
  new Promise((resolve) => {
    const [, ...args] = (scripts[name] ?? '').split(' ')
    const child = execFile(process.execPath, [...args, option], { cwd: root, timeout: 30_000 }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })

it.each(Object.entries(commands))('npm run %s answers --help with 0 and %s with 2', { timeout: 60_000 }, async (name, misspelt) => {
  const [help, wrong] = await Promise.all([run(name, '--help'), run(name, misspelt)])
  expect(help).toMatchObject({ code: 0, stderr: '' })
  expect(help.stdout).toContain(`npm run ${name}`)
  expect(wrong).toMatchObject({ code: 2, stdout: '' })
  expect(wrong.stderr).toMatch(
    new RegExp(`^${name}: unknown option ${misspelt}${/help|nothing/.test(misspelt) ? '' : '; the nearest is --'}`),
  )
  expect(wrong.stderr).toContain(`npm run ${name}`)
})
