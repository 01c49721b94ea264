import type { ReadinessCheck } from './admin.ts'
import { Gauge, type Registry } from './metrics.ts'

/**
 * Registers the gauge `customer_stream_ready`. Each scrape runs all checks, so during an outage a
 * scrape takes as long as a request to `/readyz`.
 */
export const createReadyGauge = (registry: Registry, checks: () => Promise<readonly ReadinessCheck[]>) =>
  new Gauge({
    name: 'customer_stream_ready',
    help: '1 if a check of /readyz passes, otherwise 0, by check. /readyz has the reason.',
    labelNames: ['check'],
    registers: [registry],
    async collect() {
      const found = await checks()
      // Remove the series of old checks, because the checks change when the service starts or
      // stops.
      this.reset()
      for (const { name, ready } of found) this.set({ check: name }, ready ? 1 : 0)
    },
  })
