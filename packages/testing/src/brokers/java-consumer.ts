import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fetchKafka } from './local-kafka.ts'
import { JAVA_LOCALE } from './maven.ts'
import { openRun } from './run.ts'

/** Record as Kafka's Java client reads it. */
export interface JavaRecord {
  readonly partition: number
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Headers in the order of the record. A name may occur more than once. */
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[]
}

const program = fileURLToPath(new URL('./ReadRecords.java', import.meta.url))
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

const bytesOf = (text = '-'): Buffer | null => (text === '-' ? null : Buffer.from(text.slice(1), 'base64'))

const recordOf = (line: string): JavaRecord => {
  const [partition, offset = '', timestamp = '', key, value, ...headers] = line.split(' ').slice(1)
  return {
    partition: Number(partition),
    offset,
    timestamp,
    key: bytesOf(key),
    value: bytesOf(value),
    headers: headers.map((header) => {
      // A header is `name=value`. Each part is `b` and Base64, or `-` for null. Split at the last
      // `=` with a `b` or a `-` after it, because Base64 may itself end with `=`.
      const [, name, text] = /^(.*)=(-|b.*)$/.exec(header) ?? []
      return [String(bytesOf(name)), bytesOf(text)]
    }),
  }
}

/**
 * Reads all records of a topic with Kafka's Java client, which checks each checksum. Needs a JDK,
 * because Java compiles the program.
 */
export const readWithJava = async (kafkaBrokers: readonly string[], topic: string): Promise<JavaRecord[]> => {
  const run = await openRun()
  try {
    const jars = await fetchKafka(run, () => undefined)
    const flags = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:-UsePerfData']
    const { stdout } = await promisify(execFile)(
      'java',
      [...flags, '-cp', join(jars, '*'), program, kafkaBrokers.join(','), topic],
      { env: { ...process.env, ...JAVA_LOCALE }, maxBuffer: MAX_OUTPUT_BYTES },
    )
    return stdout
      .split('\n')
      .filter((line) => line.startsWith('record '))
      .map(recordOf)
  } finally {
    await run.close()
  }
}
