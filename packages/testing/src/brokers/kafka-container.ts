import { text } from 'node:stream/consumers'
import { BoundPorts, getContainerRuntimeClient, type StartedTestContainer, Wait } from 'testcontainers'
import { CLUSTER_SIZE, clusterBroker, KAFKA_VERSION, STARTED_LINE, singleBroker } from './kafka-settings.ts'
import { LoopbackContainer } from './loopback-container.ts'

export const KAFKA_IMAGE = `apache/kafka:${KAFKA_VERSION}`

const START_TIMEOUT_MS = 60_000
const STARTER = '/tmp/start-kafka.sh'
const HOLDING_LINE = 'waiting for the mapped port'

/** Converts properties to environment variables of the image, e.g. `node.id` to KAFKA_NODE_ID. */
const environmentOf = (properties: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(properties).map(([name, value]) => [`KAFKA_${name.toUpperCase().replaceAll('.', '_')}`, value]),
  )

/**
 * Single Kafka broker in a container. Kafka must advertise the mapped port, which the engine
 * chooses at the container's start. So the container first waits for a script, which starts Kafka
 * when the port is known.
 */
export class KafkaContainer extends LoopbackContainer {
  constructor() {
    super(KAFKA_IMAGE)
    this.withExposedPorts(9092)
      .withEnvironment(
        environmentOf({
          ...singleBroker,
          'controller.quorum.voters': '1@localhost:9093',
          listeners: 'PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093,BROKER://localhost:9094',
          'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT',
          // The broker connects to itself by another listener, because the mapped port does not
          // work inside the container.
          'inter.broker.listener.name': 'BROKER',
          'heap.opts': '-Xms256m -Xmx512m',
        }),
      )
      .withEntrypoint([
        'sh',
        '-c',
        `echo '${HOLDING_LINE}'; while [ ! -s ${STARTER} ]; do sleep 0.1; done; exec sh ${STARTER}`,
      ])
      .withWaitStrategy(Wait.forLogMessage(HOLDING_LINE))
  }

  // Wait for Kafka here, because testcontainers calls this method after its own wait for the
  // container.
  protected override async containerStarted(started: StartedTestContainer): Promise<void> {
    const address = `${started.getHost()}:${started.getMappedPort(9092)}`
    const content =
      `export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://${address},BROKER://localhost:9094; exec ` +
      `/etc/kafka/docker/run\n`
    await started.copyContentToContainer([{ content, target: STARTER, mode: 0o644 }])
    const container = (await getContainerRuntimeClient()).container.getById(started.getId())
    try {
      await Wait.forLogMessage(STARTED_LINE)
        .withStartupTimeout(START_TIMEOUT_MS)
        .waitUntilReady(container, new BoundPorts())
    } catch {
      throw new Error(
        `Kafka did not start in its container; its log ends:\n${await text(await started.logs({ tail: 20 }))}`,
      )
    }
  }
}

const aliasOf = (id: number): string => `kafka-${id}`

/**
 * Creates one of three brokers that share a network. The caller chooses the port, so a restarted
 * broker has the same port.
 */
export const clusterContainer = (
  id: number,
  network: string,
  advertised: { readonly host: string; readonly port: number },
) =>
  new LoopbackContainer(KAFKA_IMAGE)
    .withNetworkMode(network)
    .withNetworkAliases(aliasOf(id))
    .withExposedPorts({ container: 9092, host: advertised.port })
    .withEnvironment(
      environmentOf({
        ...clusterBroker,
        'node.id': `${id}`,
        'controller.quorum.voters': Array.from(
          { length: CLUSTER_SIZE },
          (_, i) => `${i + 1}@${aliasOf(i + 1)}:9093`,
        ).join(','),
        listeners: 'PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093,BROKER://0.0.0.0:9094',
        'advertised.listeners': `PLAINTEXT://${advertised.host}:${advertised.port},BROKER://${aliasOf(id)}:9094`,
        'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT',
        'inter.broker.listener.name': 'BROKER',
        'heap.opts': '-Xms256m -Xmx384m',
      }),
    )
    .withWaitStrategy(Wait.forLogMessage(STARTED_LINE).withStartupTimeout(START_TIMEOUT_MS))

/**
 * Starts a killed container again.
 * @param starts how often Kafka has already started in this container.
 */
export const restartKafka = async (id: string, starts: number): Promise<void> => {
  const container = (await getContainerRuntimeClient()).container.getById(id)
  await container.start()
  await Wait.forLogMessage(STARTED_LINE, starts + 1)
    .withStartupTimeout(START_TIMEOUT_MS)
    .waitUntilReady(container, new BoundPorts())
}
