import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KAFKA_VERSION } from './kafka-settings.ts'
import { ARCHIVE_FILE, CLASS_PATH_FILE, fetchKafka, LIB_FOLDER } from './local-kafka.ts'
import { fetchOnce, JAVA_LOCALE } from './maven.ts'
import { openRun } from './run.ts'

/** Main classes of the scripts in Kafka's distribution. */
const TOOLS = {
  'kafka-topics.sh': 'org.apache.kafka.tools.TopicCommand',
  'kafka-configs.sh': 'kafka.admin.ConfigCommand',
}

export interface KafkaTools {
  /**
   * Folder with the scripts `kafka-topics.sh` and `kafka-configs.sh`, for the PATH. The scripts
   * must run in this folder, because the class path is relative to it.
   */
  readonly folder: string
  remove(): Promise<void>
}

/**
 * Writes scripts for Kafka's own command-line tools, which Java runs from the jars of Maven
 * Central.
 */
export const placeKafkaTools = async (): Promise<KafkaTools> => {
  const run = await openRun()
  try {
    const kafka = await fetchKafka(run, () => undefined)
    const tools = await fetchOnce(
      {
        name: `kafka-tools-${KAFKA_VERSION}`,
        artifacts: [`org.apache.kafka:kafka-tools:${KAFKA_VERSION}`],
        goal: 'dependency:copy-dependencies',
        // The jars of Kafka itself contain all other dependencies of these tools.
        options: ['-DexcludeTransitive=true'],
      },
      run,
      () => undefined,
    )
    const folder = await mkdtemp(join(tmpdir(), 'kafka-tools-'))
    await symlink(kafka, join(folder, LIB_FOLDER))
    const classPath = `${(await readFile(join(kafka, CLASS_PATH_FILE), 'utf8')).trim()}:'${join(tools, '*')}'`
    const archive = `-XX:SharedArchiveFile=${join(LIB_FOLDER, ARCHIVE_FILE)}`
    const java = `java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${archive} ${classPath}`
    for (const [name, mainClass] of Object.entries(TOOLS))
      await writeFile(join(folder, name), `#!/bin/sh\nLC_ALL=${JAVA_LOCALE.LC_ALL} exec ${java} ${mainClass} "$@"\n`, {
        mode: 0o755,
      })
    return { folder, remove: () => rm(folder, { recursive: true, force: true }) }
  } finally {
    await run.close()
  }
}
