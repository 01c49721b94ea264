/** Faults of ingresses with a spool. */
import { closeSync, openSync, readdirSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import type { ManagedService } from '../faults/harness/managed-services.ts'
import type { Cause } from './cause.ts'
import type { Site } from './site.ts'

/**
 * Returns the folder of an ingress' spool. Each spool has its own parent folder, because
 * full-disk.ts looks there for the file `disk-is-full`.
 */
const spoolOf = ({ files }: Site, ingress: ManagedService) =>
  join(files, `disk-${new URL(ingress.process.url).port}`, 'spool')

const restart = async (site: Site, ingress: ManagedService) => {
  await ingress.restart({ SPOOL_DIR: spoolOf(site, ingress) })
  // An ingress with a spool is ready before Kafka answers.
  await waitUntil(
    'the ingress stores records in Kafka',
    () => ingress.process.metric('ingress_published_total', { outcome: 'stored' }),
    (count) => count > 0,
  )
}

/** Overwrites bytes in the middle of the oldest file. */
const damageSpool = (folder: string) => {
  const [file] = readdirSync(folder)
    .filter((name) => name.endsWith('.segment'))
    .toSorted()
  const path = join(folder, file!)
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, Buffer.alloc(64, 0xff), 0, 64, statSync(path).size >> 1)
  closeSync(descriptor)
}

export const spoolCause: Cause = {
  fault: 'ingresses with a spool lose Kafka, a disk gets full, a folder is moved away, a file is damaged',
  alerts: ['SpoolDrainFailing', 'SpoolOld', 'SpoolDamaged', 'SpoolRecordsLost', 'SpoolDiskFailing', 'SpoolBlocked'],
  inject: async (site) => {
    const { ingresses, cluster } = site
    const [first, second] = ingresses
    await Promise.all(ingresses.map((ingress) => ingress.end()))
    await Promise.all(ingresses.map((ingress) => restart(site, ingress)))
    for (const { network } of cluster.brokers) network.set('cut')
    await site.untilFired('SpoolDrainFailing', 'SpoolOld')
    const spool = spoolOf(site, second!)
    const diskIsFull = join(spool, '..', 'disk-is-full')
    writeFileSync(diskIsFull, '')
    await site.untilFired('SpoolDiskFailing')
    rmSync(diskIsFull)
    renameSync(spool, `${spool}.away`)
    // Otherwise the ingress would create the folder again.
    writeFileSync(spool, '')
    await site.untilFired('SpoolBlocked')
    await first!.kill()
    damageSpool(spoolOf(site, first!))
    await first!.restart({ SPOOL_DIR: spoolOf(site, first!) })
    for (const { network } of cluster.brokers) network.set('open')
  },
  repair: async (site) => {
    const spool = spoolOf(site, site.ingresses[1]!)
    rmSync(spool, { recursive: true, force: true })
    renameSync(`${spool}.away`, spool)
  },
}
