import { setTimeout as sleep } from 'node:timers/promises'
import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { figureOf, residentBytes } from '../report/measure.ts'
import type { Question } from './question.ts'

const CONNECTIONS = 256
const SECONDS = 120
const MAX_RESIDENT_MB = 150
const SAMPLE_INTERVAL_MS = 500

export const memory256: Question = {
  name: 'memory-256',
  title: 'How much memory the ingress holds with many connections',
  needsWrk: true,
  ask: async (bench) => {
    // The first start of changed code loads Node's parser of TypeScript, which stays in memory. The
    // next starts use the compile cache, as an image does.
    await (await openIngressUnderLoad(bench)).close()
    const under = await openIngressUnderLoad(bench)
    try {
      const seconds = Math.round(SECONDS * bench.scale)
      const resident: number[] = []
      let isLoaded = true
      const sampling = (async () => {
        while (isLoaded) {
          resident.push(residentBytes(under.ingress.pid) / 1e6)
          await sleep(SAMPLE_INTERVAL_MS)
        }
      })()
      const loaded = await under.read(under.ingress, CONNECTIONS, seconds).finally(() => {
        isLoaded = false
      })
      await sampling
      const figure = figureOf(resident)
      return {
        lines: [
          {
            what: `memory, ingress, ${CONNECTIONS} connections for ${seconds} s: maximum resident memory`,
            target: `≤ ${MAX_RESIDENT_MB} MB`,
            figure: `${figure.max.toFixed(0)} MB (${loaded['CPU µs per event'].toFixed(0)} µs of CPU an event)`,
            met: figure.max <= MAX_RESIDENT_MB,
          },
        ],
        readings: {
          ingress: {
            'resident MB': figure,
            ...Object.fromEntries(Object.entries(loaded).map(([name, value]) => [name, figureOf([value])])),
          },
        },
        notes: [
          'wrk sends as fast as it gets answers. Resident memory is read twice a second, from the first request ' +
            'on. The CPU is measured in the same two minutes, so the table shows whether less memory costs more ' +
            'CPU. The compile cache is filled, as in an image. Without it, the ingress holds 15 to 20 MB more, ' +
            'because Node loads its parser of TypeScript.',
        ],
      }
    } finally {
      await under.close()
    }
  },
}
