import type { Site } from './site.ts'

/** A fault that fires alerts. */
export interface Cause {
  readonly fault: string
  /** Alerts that must fire. Others may fire, too. */
  readonly alerts: readonly string[]
  /**
   * Injects the fault.
   * @param fired aborts when all alerts have fired.
   */
  inject(site: Site, fired: AbortSignal): Promise<unknown>
  repair(site: Site): Promise<unknown>
}

/** Does nothing: the repair of a fault that ends by itself. */
export const none = async (): Promise<void> => {}
