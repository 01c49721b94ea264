/** Progress of a redrive or a drop, with its pace in the last ten seconds and the time left. */
import { printNotice } from '../interruption.ts'
import { barText } from '../layout.ts'
import type { LiveLine } from '../screen.ts'
import { grouped } from '../terminal-text.ts'

/**
 * Number of records that this run has handled (`done`), and that it skipped because an earlier run
 * has handled them (`doneBefore`).
 */
interface Counts {
  readonly done: number
  readonly doneBefore: number
}

interface Sample extends Counts {
  readonly at: number
  /** Records that were read. */
  readonly read: number
}

const NOTICE_RECORDS = 100_000
const PACE_MS = 10_000
const SAMPLE_MS = 500

/**
 * Returns true if the run has only skipped records that an earlier run has handled. The pace of
 * this run is then unknown.
 */
const isPassingOver = (from: Sample, to: Sample): boolean => to.done === from.done && to.doneBefore > from.doneBefore

export const createProgress = (label: string, counts: () => Counts) => {
  let [read, total] = [0, 1]
  const sampleNow = (): Sample => ({ at: performance.now(), read, ...counts() })
  /** The pace is measured from the first sample. */
  let samples: [Sample, ...Sample[]] = [sampleNow()]

  const addSample = () => {
    const [first, second] = samples
    const last = samples.at(-1) ?? first
    const current = sampleNow()
    if (isPassingOver(first, last) && current.done > last.done) samples = [last]
    if (current.at - last.at < SAMPLE_MS) return
    if (second !== undefined && current.at - second.at > PACE_MS) samples.shift()
    samples.push(current)
  }

  const line: LiveLine = {
    share: () => read / total,
    text: (columns) => {
      const [first] = samples
      const current = sampleNow()
      const seconds = Math.max(0.001, (current.at - first.at) / 1000)
      const perSecond = (current.done - first.done) / seconds
      const readPerSecond = (current.read - first.read) / seconds
      const isKnown = readPerSecond > 0 && !isPassingOver(first, current)
      const secondsLeft = isKnown ? (total - read) / readPerSecond : undefined
      return barText({ label, done: read, total, perSecond, secondsLeft }, columns)
    },
  }
  return {
    onProgress: (now: number, all: number) => {
      ;[read, total] = [now, all]
      addSample()
    },
    line,
  }
}

/**
 * Returns a function for a command without a live line. The function prints how many records the
 * command has read.
 */
export const createReadNotice = (command: string) => (read: number, total: number) => {
  if (read % NOTICE_RECORDS !== 0) return
  printNotice(`${command}: read ${grouped(read)} of ${grouped(total)} records`)
}
