import { existsSync, realpathSync } from 'node:fs'
import { access, cp, mkdir, readdir, readFile, rename, symlink, utimes, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { freePorts } from './free-ports.ts'
import { KAFKA_VERSION, STARTED_LINE, singleBroker } from './kafka-settings.ts'
import { fetchOnce, JAVA_LOCALE, requireJavaAndMaven } from './maven.ts'
import type { Run } from './run.ts'
import { type SupervisedProcess, untilExit, untilReady } from './supervised-process.ts'

/**
 * Escapes a value for a properties file, which Java reads as Latin-1 with the backslash as escape
 * character.
 */
const escaped = (value: string): string =>
  value.replace(/[^ -[\]-~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

export const propertiesOf = (entries: Readonly<Record<string, string>>): string =>
  Object.entries(entries)
    .map(([name, value]) => `${name}=${escaped(value)}\n`)
    .join('')

const LOG4J_FILE = 'log4j2.properties'
const PROPERTIES_FILE = 'server.properties'
const META_FILE = 'meta.properties'
/** File with Java's option for the class path. */
export const CLASS_PATH_FILE = 'class-path.txt'
const CLUSTER_ID = '4L6g3nShT-eMCtK--X86sw'

interface Node {
  readonly id: number
  readonly port: number
  readonly controllerPort: number
  readonly listeners: readonly Listener[]
}

/** Additional listener for clients. The brokers use the plain listener among themselves. */
export interface Listener {
  readonly name: string
  readonly protocol: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'
  readonly port: number
  /** Port that the broker advertises to its clients. Default: `port`. */
  readonly advertisedPort?: number
}

/** Folders relative to the working directory of the broker. */
const DATA_FOLDER = 'data'
const TEMPORARY_FOLDER = 'tmp'
/** Link to the folder with the jars. */
export const LIB_FOLDER = 'lib'
/**
 * Archive of the classes that a broker loads (Java's class-data sharing). The archive halves the
 * CPU time of a start. A Java of another version ignores the archive.
 */
export const ARCHIVE_FILE = 'kafka.jsa'

const serverProperties = (
  { id, port, controllerPort, listeners }: Node,
  all: readonly Node[],
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
    'log.dirs': DATA_FOLDER,
  })

// Log only warnings and the line that reports the start, because at level info Kafka logs its whole
// configuration.
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

/**
 * Returns a command that runs Java in `folder`. All paths are relative, because Kafka cannot read
 * some characters of an absolute path. In `log.dirs` a comma separates two folders. In the class
 * path a colon separates two entries. Java reads properties as Latin-1. The class path is the same
 * in every folder, because Java accepts an archive only with the class path that it had when the
 * archive was created.
 */
const javaIn = (folder: string, maxHeap: string, flags: readonly string[], ...main: readonly string[]) => ({
  command: 'java',
  args: [
    ...['-Xms256m', `-Xmx${maxHeap}`, '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', ...flags],
    // Use a temporary folder of the run, because Java leaves files in the machine's temporary
    // folder.
    ...['-XX:-UsePerfData', `-Djava.io.tmpdir=${TEMPORARY_FOLDER}`],
    `-Dlog4j2.configurationFile=${join(LIB_FOLDER, LOG4J_FILE)}`,
    `@${join(LIB_FOLDER, CLASS_PATH_FILE)}`,
    ...main,
  ],
  env: JAVA_LOCALE,
  cwd: folder,
})

/** Makes a folder in which Java can run a broker. */
const makeBrokerFolder = async (run: Run, name: string, jars: string, properties: string): Promise<string> => {
  const folder = run.makeFolder(name)
  await symlink(relative(realpathSync(folder), realpathSync(jars)), join(folder, LIB_FOLDER))
  await mkdir(join(folder, TEMPORARY_FOLDER))
  await writeFile(join(folder, PROPERTIES_FILE), properties)
  return folder
}

/**
 * Writes the class path, and rounds the times of the jars to seconds. Java refuses an archive if
 * the order of the jars or the time of a jar has changed. With `lib/*`, a copied folder may have
 * another order. A copy may also round the times.
 */
const fixClassPath = async (jars: string): Promise<void> => {
  const names = (await readdir(jars)).filter((name) => name.endsWith('.jar')).toSorted()
  await Promise.all(names.map((name) => utimes(join(jars, name), 0, 0)))
  await writeFile(join(jars, CLASS_PATH_FILE), `-cp ${names.map((name) => join(LIB_FOLDER, name)).join(':')}\n`)
}

const runBroker = (
  run: Run,
  folder: string,
  maxHeap: string,
  archiveFlag: string,
  logFile: string,
): SupervisedProcess =>
  run.start({ ...javaIn(folder, maxHeap, [archiveFlag], 'kafka.Kafka', PROPERTIES_FILE), logFile })

/**
 * Formats a storage folder, and starts a broker once to create the archive. Each broker gets a copy
 * of the storage folder, with its own meta.properties.
 */
const prepareKafka = async (run: Run, jars: string): Promise<void> => {
  await writeFile(join(jars, LOG4J_FILE), log4jProperties)
  await fixClassPath(jars)
  const [port, controllerPort] = (await freePorts(2)) as [number, number]
  const node = { id: 1, port, controllerPort, listeners: [] }
  const folder = await makeBrokerFolder(run, 'first-kafka', jars, serverProperties(node, [node], singleBroker))
  const logFile = join(folder, 'log.txt')
  const format = ['kafka.tools.StorageTool', 'format', '-t', CLUSTER_ID, '-c', PROPERTIES_FILE]
  await untilExit('formatting storage for Kafka', run.start({ ...javaIn(folder, '256m', [], ...format), logFile }))
  await access(join(folder, DATA_FOLDER, META_FILE))
  await cp(join(folder, DATA_FOLDER), join(jars, DATA_FOLDER), { recursive: true })

  const broker = runBroker(run, folder, '512m', `-XX:ArchiveClassesAtExit=${ARCHIVE_FILE}`, logFile)
  await untilStarted('Kafka', broker)
  // `end` would kill a broker that takes long to stop. The archive would then be incomplete.
  process.kill(await broker.pid, 'SIGTERM')
  await broker.ended
  // Some builds of Java create no archive.
  if (existsSync(join(folder, ARCHIVE_FILE))) await rename(join(folder, ARCHIVE_FILE), join(jars, ARCHIVE_FILE))
}

/** Returns the folder with the jars of Kafka. */
export const fetchKafka = async (run: Run, log: (line: string) => void): Promise<string> => {
  await requireJavaAndMaven(log)
  return fetchOnce(
    {
      name: `kafka-${KAFKA_VERSION}-with-archive`,
      artifacts: [
        `org.apache.kafka:kafka_2.13:${KAFKA_VERSION}`,
        'org.apache.logging.log4j:log4j-core:2.25.4',
        'org.apache.logging.log4j:log4j-slf4j-impl:2.25.4', // Kafka 4 uses slf4j 1, so log4j-slf4j2-impl would not bind
      ],
      goal: 'dependency:copy-dependencies',
      options: ['-DincludeScope=runtime'],
      prepare: (folder) => prepareKafka(run, folder),
    },
    run,
    log,
  )
}

export interface LocalBroker {
  readonly id: number
  readonly address: string
  /**
   * Starts the broker. May be called again after the process has ended. The broker then continues
   * with its data.
   */
  start(): SupervisedProcess
}

export interface BrokerOptions {
  readonly settings: Readonly<Record<string, string>>
  /** Maximum heap in Java's notation, e.g. `512m`. */
  readonly maxHeap: string
  readonly ports: readonly number[]
  /** Additional listeners: one list for each broker. */
  readonly listeners?: readonly (readonly Listener[])[]
  readonly clusterId?: string
}

/**
 * Prepares Kafka brokers, which Java runs from the jars of Maven Central. Each broker has its own
 * folder and uses two of the ports.
 */
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
    const folder = await makeBrokerFolder(run, `kafka-${node.id}`, jars, serverProperties(node, nodes, settings))
    const dataFolder = join(folder, DATA_FOLDER)
    await cp(join(jars, DATA_FOLDER), dataFolder, { recursive: true })
    // Write no directory.id, because two brokers must not have the same id. Kafka creates an id at
    // the first start.
    await writeFile(
      join(dataFolder, META_FILE),
      propertiesOf({ version: '1', 'cluster.id': clusterId, 'node.id': `${node.id}` }),
    )
    let starts = 0
    return {
      id: node.id,
      address: `127.0.0.1:${node.port}`,
      start: () => {
        starts += 1
        const logFile = join(folder, `log-${starts}.txt`)
        return runBroker(run, folder, maxHeap, `-XX:SharedArchiveFile=${join(LIB_FOLDER, ARCHIVE_FILE)}`, logFile)
      },
    }
  }
  return Promise.all(nodes.map(place))
}

/** Resolves when the broker is in its cluster and accepts requests. */
export const untilStarted = (name: string, server: SupervisedProcess): Promise<void> =>
  untilReady(name, server, async () => (await readFile(server.logFile, 'utf8')).includes(STARTED_LINE))

export const startLocalKafka = async (run: Run, log: (line: string) => void): Promise<string> => {
  const [broker] = await placeBrokers(run, log, { settings: singleBroker, maxHeap: '512m', ports: await freePorts(2) })
  await untilStarted('Kafka', broker!.start())
  return broker!.address
}
