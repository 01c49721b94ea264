import { join } from 'node:path'
import {
  freePorts,
  openTcpProxy,
  type Pipeline,
  type ServiceName,
  type ServiceProcess,
  type TcpProxy,
} from '@customer-stream/testing'

/** A service that can be killed and started again at the same address. */
export interface ManagedService {
  readonly name: ServiceName
  readonly process: ServiceProcess
  kill(): Promise<void>
  /** Sends SIGTERM. Resolves with the exit code. */
  end(): Promise<number>
  /**
   * @param root folder of the working copy whose code runs. Default:
   *   {@link ServiceOptions.root}.
   */
  restart(env?: Readonly<Record<string, string>>, root?: string): Promise<void>
}

export interface ManagedIngress extends ManagedService {
  /** Network between the senders and this ingress. */
  readonly network: TcpProxy
}

export interface ServiceOptions {
  readonly ingressEnv?: Readonly<Record<string, string>>
  readonly projectorEnv?: Readonly<Record<string, string>>
  /** Folder of the working copy whose code runs. Default: this working copy. */
  readonly root?: string
  /** True if each ingress has its own spool. */
  readonly spool?: boolean
}

/** Creates the functions that start services of the pipeline. */
export const createManager = (pipeline: Pipeline, brokers: readonly string[], options: ServiceOptions) => {
  const shared = { KAFKA_BROKERS: brokers.join(','), KAFKA_REPLICATION_FACTOR: '3' }
  const environments = {
    ingress: { ...shared, ...options.ingressEnv },
    projector: {
      ...shared,
      CONSUMER_SESSION_TIMEOUT_MS: '6000',
      POSITION_CHECK_MS: '500',
      REDIS_COMMAND_TIMEOUT_MS: '1000',
      ...options.projectorEnv,
    },
  }

  const ended = new Set<ServiceName>()
  const manage = async (name: ServiceName): Promise<ManagedService> => {
    const [publicPort, adminPort] = (await freePorts(2)).map(String)
    const spool = options.spool && name === 'ingress' ? { SPOOL_DIR: join(pipeline.folder, `spool-${publicPort}`) } : {}
    const start = (env: Readonly<Record<string, string>> = {}, root = options.root) =>
      pipeline.start(name, { ...environments[name], ...spool, PORT: publicPort!, ADMIN_PORT: adminPort!, ...env }, root)
    let process = await start()
    return {
      name,
      get process() {
        return process
      },
      kill: async () => {
        ended.add(name)
        process.signal('SIGKILL')
        await process.ended
      },
      end: () => {
        ended.add(name)
        return process.end()
      },
      restart: async (env, root) => {
        process = await start(env, root)
      },
    }
  }
  const manageIngress = async (): Promise<ManagedIngress> => {
    const ingress = await manage('ingress')
    const { hostname, port: listeningPort } = new URL(ingress.process.url)
    // Object.assign keeps the getter `process`. A spread would copy its current value, which is
    // wrong after a restart.
    return Object.assign(ingress, { network: await openTcpProxy({ host: hostname, port: Number(listeningPort) }) })
  }

  return {
    manage,
    manageIngress,
    /** Returns true if no process of this service was ended. */
    lived: (name: ServiceName): boolean => !ended.has(name),
  }
}
