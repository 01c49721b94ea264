import { setTimeout as delay } from 'node:timers/promises'

/**
 * Label of every container and network of one owner (a test run or command). The value is the
 * owner's name.
 */
export const OWNER_LABEL = 'customer-stream.owner'

const removeAll = async (owner: string): Promise<void> => {
  const { getContainerRuntimeClient } = await import('testcontainers')
  const { dockerode } = (await getContainerRuntimeClient()).container
  const filters = { label: [`${OWNER_LABEL}=${owner}`] }
  const containers = await dockerode.listContainers({ all: true, filters })
  await Promise.all(containers.map(({ Id }) => dockerode.getContainer(Id).remove({ force: true, v: true })))
  const networks = await dockerode.listNetworks({ filters })
  await Promise.all(networks.map(({ Id }) => dockerode.getNetwork(Id).remove()))
}

/**
 * Supervisor process: `docker-supervisor.ts OWNER` removes the owner's containers and networks when
 * its standard input ends. The input ends when the owner ends, even if the owner is killed with
 * SIGKILL. A second removal finds a container that the engine was creating during the first
 * removal.
 */
if (import.meta.main) {
  const owner = process.argv[2] ?? ''
  for await (const _ of process.stdin);
  await removeAll(owner)
  await delay(500)
  await removeAll(owner)
}
