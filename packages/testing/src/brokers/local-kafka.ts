import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePorts } from './free-ports.ts'
import { type GuardedProcess, untilDone, untilReady } from './guarded-process.ts'
import { KAFKA_VERSION, STARTED_LINE, singleBroker } from './kafka-settings.ts'
import { fetchOnce, requireJavaAndMaven } from './maven.ts'
import type { Run } from './run.ts'

const propertiesOf = (entries: Readonly<Record<string, string>>): string =>
  Object.entries(entries)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')

const LOG4J_FILE = 'log4j2.properties'
const CLUSTER_ID = '4L6g3nShT-eMCtK--X86sw'

interface Node {
  readonly id: number
  readonly port: number
  readonly controllerPort: number
  readonly listeners: readonly Listener[]
}

/** A listener beside the plain one that brokers use among themselves. */
export interface Listener {
  readonly name: string
  readonly protocol: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT'
  readonly port: number
  /** Port that the broker sends its clients to; `port` if not given. */
  readonly advertisedPort?: number
}

const serverProperties = (
  { id, port, controllerPort, listeners }: Node,
  all: readonly Node[],
  dataFolder: string,
  settings: Readonly<Record<string, string>>,
): string =>
  propertiesOf({
    ...settings,
    'node.id': `${id}`,
    'controller.quorum.voters': all.map((node) => `${node.id}@127.0.0.1:${node.controllerPort}`).join(','),
    listeners: [
      `PLAINTEXT://127.0.0.1:${port}`,
      `CONTROLLER://127.0.0.1:${controllerPort}`,
      ...listeners.map((listener) => `${listener.name}://127.0.0.1:${listener.port}`),
    ].join(','),
    'advertised.listeners': [
      `PLAINTEXT://127.0.0.1:${port}`,
      ...listeners.map((listener) => `${listener.name}://127.0.0.1:${listener.advertisedPort ?? listener.port}`),
    ].join(','),
    'listener.security.protocol.map': [
      'PLAINTEXT:PLAINTEXT',
      'CONTROLLER:PLAINTEXT',
      ...listeners.map(({ name, protocol }) => `${name}:${protocol}`),
    ].join(','),
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
const javaArgs = (jars: string, maxHeap: string, mainClass: string, ...args: readonly string[]): string[] => [
  ...['-Xms256m', `-Xmx${maxHeap}`, '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
  `-Dlog4j2.configurationFile=${join(jars, LOG4J_FILE)}`,
  ...['-cp', join(jars, '*'), mainClass, ...args],
]

/** Formatted once and copied for each start: to format costs a start of Java, and but for meta.properties what it writes depends on no node. */
const formattedIn = (jars: string): string => join(jars, 'formatted')

const format = async (jars: string, run: Run): Promise<void> => {
  const folder = run.makeFolder('format')
  const properties = join(folder, 'server.properties')
  const node = { id: 1, port: 9092, controllerPort: 9093, listeners: [] }
  await writeFile(join(jars, LOG4J_FILE), log4jProperties)
  await writeFile(properties, serverProperties(node, [node], formattedIn(jars), singleBroker))
  const args = javaArgs(jars, '256m', 'kafka.tools.StorageTool', 'format', '-t', CLUSTER_ID, '-c', properties)
  await untilDone('formatting storage for Kafka', run.start({ command: 'java', args, logFile: join(folder, 'log.txt') }))
}

const fetchKafka = async (run: Run, log: (line: string) => void): Promise<string> => {
  await requireJavaAndMaven(log)
  return fetchOnce(
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
}

export interface LocalBroker {
  readonly id: number
  readonly address: string
  /** May be called again when the process has ended: the broker goes on with its data. */
  start(): GuardedProcess
}

export interface BrokerOptions {
  readonly settings: Readonly<Record<string, string>>
  /** As Java has it, e.g. `512m`. */
  readonly maxHeap: string
  readonly ports: readonly number[]
  /** Further listeners, one list for each broker. */
  readonly listeners?: readonly (readonly Listener[])[]
  readonly clusterId?: string
}

/** Kafka as the jars on Maven Central, to be run by Java: one broker for each two ports, with a folder of its own. */
export const placeBrokers = async (
  run: Run,
  log: (line: string) => void,
  { settings, maxHeap, ports, listeners = [], clusterId = CLUSTER_ID }: BrokerOptions,
): Promise<LocalBroker[]> => {
  const jars = await fetchKafka(run, log)
  const nodes = Array.from({ length: ports.length / 2 }, (_, i) => ({
    id: i + 1,
    port: ports[2 * i]!,
    controllerPort: ports[2 * i + 1]!,
    listeners: listeners[i] ?? [],
  }))
  const place = async (node: Node): Promise<LocalBroker> => {
    const folder = run.makeFolder(`kafka-${node.id}`)
    const dataFolder = join(folder, 'data')
    const properties = join(folder, 'server.properties')
    await cp(formattedIn(jars), dataFolder, { recursive: true })
    // Without a directory.id, which no two brokers may share: Kafka draws one at its first start.
    await writeFile(join(dataFolder, 'meta.properties'), propertiesOf({ version: '1', 'cluster.id': clusterId, 'node.id': `${node.id}` }))
    await writeFile(properties, serverProperties(node, nodes, dataFolder, settings))
    let starts = 0
    return {
      id: node.id,
      address: `127.0.0.1:${node.port}`,
      start: () => {
        starts += 1
        return run.start({
          command: 'java',
          args: javaArgs(jars, maxHeap, 'kafka.Kafka', properties),
          logFile: join(folder, `log-${starts}.txt`),
        })
      },
    }
  }
  return Promise.all(nodes.map(place))
}

/** Resolves when the broker is in its cluster and takes requests. */
export const untilStarted = (name: string, server: GuardedProcess): Promise<void> =>
  untilReady(name, server, async () => (await readFile(server.logFile, 'utf8')).includes(STARTED_LINE))

export const startLocalKafka = async (run: Run, log: (line: string) => void): Promise<string> => {
  const [broker] = await placeBrokers(run, log, { settings: singleBroker, maxHeap: '512m', ports: await freePorts(2) })
  await untilStarted('Kafka', broker!.start())
  return broker!.address
}
