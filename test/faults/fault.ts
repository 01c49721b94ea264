import { setTimeout as sleep } from 'node:timers/promises'
import { type Arena, type ArenaOptions, isSound, type KafkaCluster, openArena, waitUntil } from '@customer-stream/testing'

/** One row of the fault suite: what is done to the pipeline under load. */
export interface Fault {
  readonly name: string
  readonly how: string
  readonly options?: Omit<ArenaOptions, 'seed'>
  /**
   * Injects the fault and ends it. Throws when something that must hold meanwhile does not.
   * @param scale 1 in the full suite, less in the short form: durations that need not be long are multiplied by it.
   */
  inject(arena: Arena, scale: number): Promise<void>
}

export interface FaultResult {
  readonly fault: string
  readonly promised: number
  readonly refused: number
  readonly missing: number
  readonly wrong: number
  readonly recoverySeconds: number
  readonly worstLag: number
}

/** For faults that must last: the time is what is injected, not what is waited for. */
export const lasting = (ms: number): Promise<void> => sleep(ms)

const watchLag = (arena: Arena) => {
  let worst = 0
  const timer = setInterval(async () => {
    worst = Math.max(worst, (await arena.lag()) ?? 0)
  }, 500)
  return {
    stop: () => {
      clearInterval(timer)
      return worst
    },
  }
}

/** Load, fault, end of the fault, recovery without a hand, verdict. */
export const runFault = async (
  cluster: KafkaCluster,
  fault: Fault,
  { seed, scale }: { seed: number; scale: number },
): Promise<FaultResult> => {
  const arena = await openArena(cluster, { seed, ...fault.options })
  const lag = watchLag(arena)
  try {
    await arena.untilPromised(300)
    await fault.inject(arena, scale)
    const endedAt = performance.now()
    await arena.untilPromised(200)
    await Promise.all([...arena.ingresses, ...arena.projectors].map(({ process }) => process.untilReady()))
    const readyAt = performance.now()
    await arena.stopLoad()
    const stoppedAt = performance.now()
    await waitUntil('the projectors have caught up', arena.lag, (behind) => behind === 0, { timeoutMs: 60_000, pauseMs: 50 })
    const caughtUpAt = performance.now()
    const verdict = await arena.pipeline.verify(arena.ledgerPath)
    const result = {
      fault: fault.name,
      promised: verdict.promisedEvents,
      refused: arena.refused(),
      missing: verdict.missing.length,
      wrong: verdict.wrong.length,
      recoverySeconds: (readyAt - endedAt + caughtUpAt - stoppedAt) / 1000,
      worstLag: lag.stop(),
    }
    if (!isSound(verdict)) process.stderr.write(`${fault.name}: the ledger and the logs are in ${arena.pipeline.folder}\n`)
    return result
  } finally {
    lag.stop()
    await arena.close()
  }
}

const columns = ['fault', 'promised', 'other than 2xx', 'missing', 'wrong', 'recovery s', 'worst lag'] as const

export const faultTable = (results: readonly FaultResult[]): string => {
  const rows = results.map((r) =>
    [r.fault, r.promised, r.refused, r.missing, r.wrong, r.recoverySeconds.toFixed(1), r.worstLag].map(String),
  )
  const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => row[i]?.length ?? 0)))
  return [columns, ...rows]
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '))
    .join('\n')
}
