import { readdir, readFile } from 'node:fs/promises'
import type { Profiler } from 'node:inspector'
import { join } from 'node:path'
import { openPipeline } from '@customer-stream/testing'
import type { Bench } from '../questions/question.ts'
import type { Profiled } from '../report/performance-page.ts'
import { recordProfile } from '../report/report.ts'
import { catchUp } from './catch-up.ts'
import { fillTopic } from './fill-topic.ts'
import { openIngressUnderLoad } from './ingress-under-load.ts'

/** Time after the start of a process that the profile leaves out. */
const SKIPPED_MS = 3000

const profiled = (folder: string) => ({ NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder}` })

const profileIn = async (folder: string): Promise<Profiler.Profile> => {
  const [file] = await readdir(folder)
  if (file === undefined) throw new Error(`no profile was written to ${folder}`)
  return JSON.parse(await readFile(join(folder, file), 'utf8')) as Profiler.Profile
}

/**
 * Profiles both services at full load with V8's profiler. The profiler slows down the services, so
 * only the shares of their time are useful.
 */
export const profileServices = async (bench: Bench): Promise<Readonly<Record<string, Profiled>>> => {
  bench.say('\nWhere the microseconds go …')
  const filled = await openPipeline(bench.brokers)
  const ingressFolder = join(filled.folder, 'ingress-profile')
  const projectorFolder = join(filled.folder, 'projector-profile')
  const under = await openIngressUnderLoad(bench, { env: profiled(ingressFolder) })
  await under.read(under.ingress, 64, 15)
  await under.close()
  const events = 200_000
  await fillTopic(bench, filled, { events, customers: events, partitions: 12 })
  await catchUp(filled, { env: profiled(projectorFolder) })
  await filled.close()
  return {
    ingress: recordProfile('ingress', 'ingress, 64 connections', await profileIn(ingressFolder), SKIPPED_MS),
    projector: recordProfile(
      'projector',
      'projector, catching up on distinct customers',
      await profileIn(projectorFolder),
      SKIPPED_MS,
    ),
  }
}
