import { unlessAborted } from '@customer-stream/runtime'
import { freePortsToKeep, type Pipeline, type ServiceProcess } from '@customer-stream/testing'

export interface Services {
  /** Address that the sender calls. It stays the same when the ingress starts again. */
  readonly url: string
  /** The ingress process of this moment. */
  readonly ingress: () => ServiceProcess
  readonly projector: ServiceProcess
  /** Starts an ingress at the address of the last one, which was killed. Resolves when it is ready. */
  startIngressAgain(): Promise<void>
}

/** Starts one ingress and one projector. Resolves when both are ready. */
export const startServices = async (pipeline: Pipeline, replicas: number, signal: AbortSignal): Promise<Services> => {
  const [port, adminPort] = (await freePortsToKeep(2)) as [number, number]
  const env = { KAFKA_REPLICATION_FACTOR: String(replicas) }
  const startIngress = () => pipeline.start('ingress', { ...env, PORT: String(port), ADMIN_PORT: String(adminPort) })
  let ingress = await unlessAborted(startIngress(), signal)
  const projector = await unlessAborted(pipeline.start('projector', env), signal)
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
