/** `npm run test:faults`: the fault suite on three brokers. Its results are printed as a table. */
import { spawnSync } from 'node:child_process'
import { readCommandLine } from '@customer-stream/simulator/command-line'

const { faults, words } = readCommandLine({
  name: 'test:faults',
  usage: `npm run test:faults -- [--short] [FAULT]

    --short    each fault for a shorter time: 8 minutes instead of 13
    FAULT      only the faults whose title has this text, e.g. "Redis hung"
  FAULT_SEED repeats the random choices of a run.`,
  options: { short: 'flag' },
  words: true,
  read: ({ flags, words: title }) => ({ faults: flags.has('short') ? 'short' : 'full', words: title }),
})
const titled = words.length > 0 ? ['-t', words.join(' ')] : []
// npm puts the commands of the installed packages on the PATH.
const { status } = spawnSync('vitest', ['run', '--project', 'faults', ...titled], {
  stdio: 'inherit',
  env: { ...process.env, FAULTS: faults },
})
process.exit(status ?? 1)
