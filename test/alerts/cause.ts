import type { Site } from './site.ts'

/** A fault that fires alerts. */
export interface Cause {
  readonly fault: string
  /** Alerts that must fire. Other alerts may fire, too. */
  readonly alerts: readonly string[]
  /**
   * Injects the fault.
   * @param fired aborts when all alerts have fired.
   */
  inject(site: Site, fired: AbortSignal): Promise<unknown>
  repair(site: Site): Promise<unknown>
}

export const noRepair = async (): Promise<void> => {}
