import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KAFKA_VERSION } from './kafka-settings.ts'
import { fetchKafka } from './local-kafka.ts'
import { fetchOnce, JAVA_LOCALE } from './maven.ts'
import { openRun } from './run.ts'

/** Main classes of the scripts in Kafka's distribution. */
const TOOLS = {
  'kafka-topics.sh': 'org.apache.kafka.tools.TopicCommand',
  'kafka-configs.sh': 'kafka.admin.ConfigCommand',
}

export interface KafkaTools {
  /** Folder with the scripts `kafka-topics.sh` and `kafka-configs.sh`, for the PATH. */
  readonly folder: string
  remove(): Promise<void>
}

/** Places Kafka's own command-line tools, which Java runs from the jars of Maven Central. */
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
    const java = `java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '${join(kafka, '*')}:${join(tools, '*')}'`
    for (const [name, mainClass] of Object.entries(TOOLS))
      await writeFile(join(folder, name), `#!/bin/sh\nLC_ALL=${JAVA_LOCALE.LC_ALL} exec ${java} ${mainClass} "$@"\n`, {
        mode: 0o755,
      })
    return { folder, remove: () => rm(folder, { recursive: true, force: true }) }
  } finally {
    await run.close()
  }
}
