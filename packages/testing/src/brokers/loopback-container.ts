import { GenericContainer, getContainerRuntimeClient } from 'testcontainers'

type PortBindings = Readonly<Record<string, readonly object[]>>

/**
 * Binds published ports to the loopback address. Changes nothing for an engine on another machine,
 * because only that machine could reach its loopback address.
 * @param engineHost host at which testcontainers reaches the containers.
 */
export const onLoopback = (bindings: PortBindings, engineHost: string): PortBindings => {
  if (engineHost !== 'localhost') return bindings
  return Object.fromEntries(
    Object.entries(bindings).map(([port, hosts]) => [port, hosts.map((host) => ({ ...host, HostIp: '127.0.0.1' }))]),
  )
}

/**
 * Container whose ports only this machine can reach, because its servers demand no login.
 * testcontainers publishes ports on all addresses by default.
 */
export class LoopbackContainer extends GenericContainer {
  protected override async beforeContainerCreated(): Promise<void> {
    const { host } = (await getContainerRuntimeClient()).info.containerRuntime
    this.hostConfig.PortBindings = onLoopback(this.hostConfig.PortBindings ?? {}, host)
  }
}
