import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Returns the output if the script fails, otherwise an empty text. */
const failureOf = (script: string): Promise<string> =>
  new Promise((resolve) =>
    execFile('npm', ['run', '--silent', script], { cwd: root, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve(error ? `${stdout}${stderr}${error.message}` : ''),
    ),
  )

// The checks run at the same time as the unit tests, which do not use all of two cores.
it('the type check, the linter and the check of imports find no problem (npm run check)', {
  timeout: 300_000,
}, async () => {
  expect(await failureOf('check')).toBe('')
})
