/**
 * A real Chromium for tests of the console. The tests use the machine's Chromium, or install
 * Debian's package.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { type Browser, chromium } from 'playwright-core'

const run = promisify(execFile)
/**
 * The same engine without the windows of a browser. The tests of the console need a third of the
 * CPU time with it.
 */
const SHELL = 'chromium-headless-shell'
const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

const fromPath = (names: readonly string[]): string | undefined =>
  names
    .flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name)))
    .find(existsSync)

/** Installs Debian's package of the shell. Rejects if that is not possible. */
const install = async (): Promise<void> => {
  if (process.getuid?.() !== 0) throw new Error(`only root may install the package ${SHELL}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const words = ['install', '--yes', '--no-install-recommends', SHELL]
  await run('apt-get', words, { env }).catch(async (error: Error) => {
    if (fromPath(BROWSERS) !== undefined) throw error
    // A fresh machine has no lists of packages.
    await run('apt-get', ['update'], { env })
    await run('apt-get', words, { env })
  })
}

/** Starts a Chromium without a window. Rejects with the reason if this machine has none. */
export const startChromium = async (): Promise<Browser> => {
  if (fromPath([SHELL]) === undefined)
    await install().catch((error: Error) => {
      if (fromPath(BROWSERS) !== undefined) return
      throw new Error(`no Chromium: the PATH has none, and apt-get cannot install it (${error.message.split('\n')[0]})`)
    })
  const executablePath = fromPath([SHELL, ...BROWSERS])
  if (executablePath === undefined) throw new Error('no Chromium: apt-get has installed none')
  // The sandbox of Chromium refuses root. The tests open only pages of our own reader.
  return chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] })
}
