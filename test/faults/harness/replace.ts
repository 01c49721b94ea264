import { waitUntil } from '@customer-stream/runtime'
import type { ManagedIngress, ManagedService } from './managed-services.ts'

export const mustEnd = async (service: ManagedService): Promise<void> => {
  const code = await service.end()
  if (code !== 0) throw new Error(`${service.name} exited with ${code}`)
}

/**
 * Ends an ingress and starts it again, as behind a load balancer: while `/readyz` does not answer
 * 200, no new request reaches the ingress. The ingress needs a `SHUTDOWN_DELAY_MS`.
 * @param root folder of the working copy whose code runs after the restart.
 */
export const replaceIngress = async (ingress: ManagedIngress, root?: string): Promise<void> => {
  const unready = async () => {
    await waitUntil(
      'the ingress reports that it stops',
      async () => (await fetch(`${ingress.process.adminUrl}/readyz`)).status,
      (status) => status === 503,
    )
    ingress.network.set('busy')
  }
  await Promise.all([mustEnd(ingress), unready()])
  await ingress.restart({}, root)
  await ingress.process.untilReady()
  ingress.network.set('open')
}
