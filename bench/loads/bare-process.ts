import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { freshNames, type Pipeline, startSupervised } from '@customer-stream/testing'

/** Minimal program for comparison with one of our services. */
export interface BareProcess {
  readonly pid: number
  /** First line of the program's output, which says that the program is ready. */
  readonly line: string
  end(): Promise<void>
}

export const startBare = async (
  name: 'bare-handler' | 'bare-consumer' | 'bare-reader',
  { folder }: Pick<Pipeline, 'folder'>,
  env: Readonly<Record<string, string>>,
): Promise<BareProcess> => {
  const logFile = join(folder, `${name}-${freshNames().groupId}.log`)
  const supervised = startSupervised({
    command: process.execPath,
    args: ['--conditions=customer-stream-source', fileURLToPath(new URL(`./${name}.ts`, import.meta.url))],
    // Hide Node's warning about a negative timeout of kafkajs, because the warning would be the
    // first line of the output.
    env: { NODE_ENV: 'production', NODE_NO_WARNINGS: '1', ...env },
    logFile,
  })
  const output = await waitUntil(
    `${name} is ready`,
    async () => readFile(logFile, 'utf8').catch(() => ''),
    (text) => supervised.hasEnded() || text.includes('\n'),
  )
  if (supervised.hasEnded()) throw new Error(`${name} ended at its start:\n${output}`)
  return { pid: await supervised.pid, line: output.split('\n')[0]!, end: () => supervised.end() }
}
