/** `npm run test:fuzz` installs Schemathesis and sets `SCHEMATHESIS` to its command. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Undefined if Schemathesis is missing. `npm run test:fuzz` prints the reason. */
export const schemathesis = process.env.SCHEMATHESIS
/** Duration of each of the two tests, in seconds. Together they last FUZZ_SECONDS. */
export const seconds = Math.ceil(Number(process.env.FUZZ_SECONDS ?? 20) / 2)
export const timeout = (seconds + 240) * 1000

const configuration = fileURLToPath(new URL('schemathesis.toml', import.meta.url))

const OPTIONS = [
  ...['--max-time', String(seconds), '--request-timeout', '2', '--continue-on-failure', '--no-color'],
  ...['--generation-database', 'none'],
  // Do not generate credentials, because the tests set the credentials of each request.
  ...['--generation-with-security-parameters', 'false'],
]

interface Run {
  /** Name of the OpenAPI document in `packages/schemas/contract`. */
  readonly document: string
  readonly url: string
  /** More options. */
  readonly options: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Folder in which Schemathesis runs. */
  readonly cwd: string
}

/** Sends requests that Schemathesis derives from a document. `code` is 0 if all checks passed. */
export const runSchemathesis = ({
  document,
  url,
  options,
  env = {},
  cwd,
}: Run): Promise<{ readonly code: number | null; readonly output: string }> =>
  new Promise((resolve) => {
    const file = fileURLToPath(new URL(`../../packages/schemas/contract/${document}`, import.meta.url))
    const words = ['--config-file', configuration, 'run', file, '--url', url, ...OPTIONS, ...options]
    const limits = { timeout: (seconds + 120) * 1000, maxBuffer: 64 * 1024 * 1024 }
    const child = execFile(
      schemathesis ?? '',
      words,
      { env: { ...process.env, ...env }, cwd, ...limits },
      (_, out, err) => resolve({ code: child.exitCode, output: out + err }),
    )
  })
