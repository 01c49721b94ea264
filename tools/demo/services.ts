import { unlessAborted } from '@customer-stream/runtime'
import { freePortsToKeep, type Pipeline, type ServiceProcess } from '@customer-stream/testing'

export interface Services {
  /** Address that the sender calls. It stays the same when the ingress starts again. */
  readonly url: string
  /** The ingress process of this moment. */
  readonly ingress: () => ServiceProcess
  readonly projector: ServiceProcess
  /** Starts an ingress at the address of the killed ingress. Resolves when it is ready. */
  startIngressAgain(): Promise<void>
}

/**
 * If the killed broker was the coordinator of the projector's group, the projector continues after
 * one session timeout. 6 s is the least that Kafka accepts. The default is 15 s.
 */
const SESSION_TIMEOUT_MS = 6000

/** Starts one ingress and one projector. Resolves when both are ready. */
export const startServices = async (pipeline: Pipeline, replicas: number, signal: AbortSignal): Promise<Services> => {
  const [port, adminPort] = (await freePortsToKeep(2)) as [number, number]
  const env = { KAFKA_REPLICATION_FACTOR: String(replicas) }
  const startIngress = () => pipeline.start('ingress', { ...env, PORT: String(port), ADMIN_PORT: String(adminPort) })
  const startProjector = () =>
    pipeline.start('projector', { ...env, CONSUMER_SESSION_TIMEOUT_MS: String(SESSION_TIMEOUT_MS) })
  let [ingress, projector] = await unlessAborted(Promise.all([startIngress(), startProjector()]), signal)
  await unlessAborted(Promise.all([ingress.untilReady(), projector.untilReady()]), signal)
  return {
    url: ingress.url,
    ingress: () => ingress,
    projector,
    startIngressAgain: async () => {
      ingress = await unlessAborted(startIngress(), signal)
      await unlessAborted(ingress.untilReady(), signal)
    },
  }
}
