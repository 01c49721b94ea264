/** Functions for the standard output of the commands. The output may be a slow pipe. */
import { once } from 'node:events'
import { unlessAborted } from '@customer-stream/runtime'
import { interruption } from './interruption.ts'
import { fitted } from './layout.ts'

/**
 * Writes a report for people, in lines that fit the terminal. JSON, bytes of a record and shell
 * commands are written unchanged, so that a person can copy them.
 */
export const printText = (text: string): void => {
  process.stdout.write(`${fitted(text, process.stdout)}\n`)
}

/**
 * Resolves when standard output accepts more text. A loop that writes must wait for this promise.
 * Otherwise, if the other end of a pipe reads slowly, the output would fill the memory.
 */
export const drained = async (): Promise<void> => {
  if (process.stdout.writableNeedDrain) await unlessAborted(once(process.stdout, 'drain'), interruption.signal)
}

/**
 * Ends the process after all output was read from its pipes. A call of `process.exit` alone would
 * cut the output off.
 */
export const endProcess = async (exitCode: number): Promise<never> => {
  const taken = [process.stdout, process.stderr].map(
    (stream) => new Promise((resolve) => stream.write('', () => resolve(undefined))),
  )
  const isTaken = await Promise.race([Promise.all(taken).then(() => true), interruption.arrived.then(() => false)])
  process.exit(isTaken ? exitCode : 130)
}
