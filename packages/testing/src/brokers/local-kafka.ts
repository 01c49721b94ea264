import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePorts } from './free-ports.ts'
import { untilDone, untilReady } from './guarded-process.ts'
import { KAFKA_VERSION, STARTED_LINE, singleBroker } from './kafka-settings.ts'
import { fetchOnce, requireJavaAndMaven } from './maven.ts'
import type { Run } from './run.ts'

const propertiesOf = (entries: Readonly<Record<string, string>>): string =>
  Object.entries(entries)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')

const serverProperties = (dataFolder: string, port: number, controllerPort: number): string =>
  propertiesOf({
    ...singleBroker,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'log.dirs': dataFolder,
  })

// Warnings and the line that tells of the start; at info Kafka writes its whole configuration.
const log4jProperties = propertiesOf({
  'rootLogger.level': 'warn',
  'rootLogger.appenderRef.console.ref': 'console',
  'appender.console.type': 'Console',
  'appender.console.name': 'console',
  'appender.console.layout.type': 'PatternLayout',
  'appender.console.layout.pattern': '%d{HH:mm:ss.SSS} %p %m (%c)%n%throwable',
  'logger.started.name': 'kafka.server.KafkaRaftServer',
  'logger.started.level': 'info',
})

/** A class-data-sharing archive would save 0.7 of 2 s, and is tied to one build of Java. */
const javaArgs = (jars: string, mainClass: string, ...args: readonly string[]): string[] => [
  ...['-Xms256m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
  `-Dlog4j2.configurationFile=${join(jars, 'log4j2.properties')}`,
  ...['-cp', join(jars, '*'), mainClass, ...args],
]

/** Formatted once and copied for each start: to format costs a start of Java, and what it writes depends on no port. */
const formattedIn = (jars: string): string => join(jars, 'formatted')

const format = async (jars: string, run: Run): Promise<void> => {
  const folder = run.makeFolder('format')
  const properties = join(folder, 'server.properties')
  await writeFile(join(jars, 'log4j2.properties'), log4jProperties)
  await writeFile(properties, serverProperties(formattedIn(jars), 9092, 9093))
  const args = javaArgs(jars, 'kafka.tools.StorageTool', 'format', '-t', '4L6g3nShT-eMCtK--X86sw', '-c', properties)
  await untilDone('formatting storage for Kafka', run.start({ command: 'java', args, logFile: join(folder, 'log.txt') }))
}

/** Kafka as the jars on Maven Central, run by Java. */
export const startLocalKafka = async (run: Run, log: (line: string) => void): Promise<string> => {
  await requireJavaAndMaven(log)
  const jars = await fetchOnce(
    {
      name: `kafka-${KAFKA_VERSION}`,
      artifacts: [
        `org.apache.kafka:kafka_2.13:${KAFKA_VERSION}`,
        'org.apache.logging.log4j:log4j-core:2.25.4',
        'org.apache.logging.log4j:log4j-slf4j-impl:2.25.4', // Kafka 4 is on slf4j 1: log4j-slf4j2-impl would not bind
      ],
      goal: 'dependency:copy-dependencies',
      options: ['-DincludeScope=runtime'],
      prepare: (folder) => format(folder, run),
    },
    run,
    log,
  )

  const folder = run.makeFolder('kafka')
  const dataFolder = join(folder, 'data')
  const properties = join(folder, 'server.properties')
  const [port, controllerPort] = await freePorts(2)
  await cp(formattedIn(jars), dataFolder, { recursive: true })
  await writeFile(properties, serverProperties(dataFolder, port!, controllerPort!))
  const logFile = join(folder, 'log.txt')
  const server = run.start({ command: 'java', args: javaArgs(jars, 'kafka.Kafka', properties), logFile })
  await untilReady('Kafka', server, async () => (await readFile(logFile, 'utf8')).includes(STARTED_LINE))
  return `127.0.0.1:${port}`
}
