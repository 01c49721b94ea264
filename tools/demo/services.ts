import { unlessAborted } from '@customer-stream/runtime'
import { freePorts, type Pipeline, type ServiceProcess } from '@customer-stream/testing'

export interface Services {
  /** Address of the ingress. A restart does not change the address. */
  readonly url: string
  /** Returns the current process of the ingress. */
  readonly ingress: () => ServiceProcess
  readonly projector: ServiceProcess
  readonly reader: ServiceProcess
  /** Starts an ingress at the address of the killed ingress. Resolves when it is ready. */
  startIngressAgain(): Promise<void>
}

/**
 * Session timeout of the projector: the minimum that Kafka accepts. The default is 15 s. If the
 * killed broker was the group's coordinator, the projector continues only after this time.
 */
const SESSION_TIMEOUT_MS = 6000

/** Starts one process of each service. Resolves when all are ready. */
export const startServices = async (pipeline: Pipeline, replicas: number, signal: AbortSignal): Promise<Services> => {
  const [port, adminPort] = (await freePorts(2)) as [number, number]
  const env = { KAFKA_REPLICATION_FACTOR: String(replicas) }
  const startIngress = () => pipeline.start('ingress', { ...env, PORT: String(port), ADMIN_PORT: String(adminPort) })
  const startProjector = () =>
    pipeline.start('projector', { ...env, CONSUMER_SESSION_TIMEOUT_MS: String(SESSION_TIMEOUT_MS) })
  const readerEnv = { ...env, INGRESS_ADMIN_URLS: `http://127.0.0.1:${adminPort}` }
  const starts = [startIngress(), startProjector(), pipeline.start('reader', readerEnv)] as const
  let [ingress, projector, reader] = await unlessAborted(Promise.all(starts), signal)
  await unlessAborted(Promise.all([ingress, projector, reader].map((service) => service.untilReady())), signal)
  return {
    url: ingress.url,
    ingress: () => ingress,
    projector,
    reader,
    startIngressAgain: async () => {
      ingress = await unlessAborted(startIngress(), signal)
      await unlessAborted(ingress.untilReady(), signal)
    },
  }
}
