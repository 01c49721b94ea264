import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { buildConsole, openInBrowser } from './console.ts'

/** Makes a folder the only folder with programs. */
const replacePath = () => {
  const folder = mkdtempSync(join(tmpdir(), 'programs-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  vi.stubEnv('PATH', folder)
  return folder
}
/** Replaces npm by a program that ends with this code. */
const replaceNpm = (exitCode: number) => {
  const folder = replacePath()
  writeFileSync(join(folder, 'npm'), `#!/bin/sh\nexit ${exitCode}\n`, { mode: 0o755 })
}
const watchNotices = () => vi.spyOn(process.stderr, 'write').mockReturnValue(true)

it('if the console cannot be built, the demo prints a notice and continues', async () => {
  replaceNpm(1)
  const notices = watchNotices()
  await buildConsole(new AbortController().signal)
  expect(notices.mock.calls).toEqual([[expect.stringContaining('the console cannot be built: Command failed: npm')]])
})

it.each([0, 1])('Ctrl-C during the build of the console ends the demo (npm exits with %i)', async (exitCode) => {
  replaceNpm(exitCode)
  const notices = watchNotices()
  const interruption = new AbortController()
  const build = buildConsole(interruption.signal)
  interruption.abort(new Error('interrupted by SIGINT'))
  await expect(build).rejects.toThrow('interrupted by SIGINT')
  expect(notices).not.toHaveBeenCalled()
})

it('if no program can open a browser, the demo says so and continues', async () => {
  replacePath()
  const notices = watchNotices()
  openInBrowser('http://127.0.0.1:1/')
  await vi.waitFor(() =>
    expect(notices.mock.calls).toEqual([[expect.stringMatching(/^no browser can be opened: [\w-]+ is missing\n$/)]]),
  )
})
