/** The console of the reader, in a working copy. */
import { execFile, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { printNotice } from '@customer-stream/cli/interruption'

const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Builds the console. If the build fails, prints a notice, because everything else works without
 * the console. After Ctrl-C, waits until the build has ended, and rejects.
 */
export const buildConsole = async (signal: AbortSignal): Promise<void> => {
  const words = ['run', '--silent', 'build', '--workspace', '@customer-stream/reader']
  const failure = await promisify(execFile)('npm', words, { cwd: root }).catch((error: Error) => error)
  signal.throwIfAborted()
  if (failure instanceof Error) printNotice(`the console cannot be built: ${failure.message}`)
}

const OPENERS: Partial<Record<NodeJS.Platform, readonly [program: string, ...words: string[]]>> = {
  darwin: ['open'],
  win32: ['cmd', '/c', 'start', ''],
}

/** Opens an address in the browser of the user. */
export const openInBrowser = (url: string): void => {
  const [program, ...words] = OPENERS[process.platform] ?? ['xdg-open']
  const opener = spawn(program, [...words, url], { stdio: 'ignore', detached: true })
  opener.on('error', () => printNotice(`no browser can be opened: ${program} is missing`))
  opener.unref()
}
