/** Texts of `customer-stream verify --repair`. */
import type { RepairedPartition, Verdict } from '@customer-stream/verify'
import { counted } from './terminal-text.ts'

type Repairs = Pick<Verdict, 'repairable' | 'repairableCount' | 'wrongCount'>

/** Returns one line about the customers to repair and the work of the projector. */
export const repairSummary = ({ repairable }: Repairs, partitions: readonly RepairedPartition[]): string => {
  const records = partitions.reduce((sum, each) => sum + each.records, 0)
  return (
    `repair of ${counted(repairable.length, 'customer')}: the projector applies ${counted(records, 'record')} ` +
    `of ${counted(partitions.length, 'partition')} again`
  )
}

/** Returns the plan of a repair that has not begun. */
export const repairLines = (repairs: Repairs, partitions: readonly RepairedPartition[]): string[] => {
  const { repairable, repairableCount, wrongCount } = repairs
  const others = wrongCount - repairableCount
  const lines = [repairSummary(repairs, partitions)]
  if (repairableCount > repairable.length)
    lines.push(`  ${counted(repairableCount - repairable.length, 'more customer')} can be repaired by another run.`)
  if (others > 0)
    lines.push(
      `  ${counted(others, 'wrong customer')} must be repaired by other means: docs/operating.md, "Proving it".`,
    )
  if (repairable.length > 0) lines.push('  Nothing was changed. To repair, add --execute.')
  return lines
}
