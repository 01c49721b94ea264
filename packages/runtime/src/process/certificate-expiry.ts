import { Gauge, type Registry } from './metrics.ts'
import type { Loaded, Settings } from './settings.ts'
import { certificatesOf } from './tls.ts'

/** Returns when the first certificate of each setting expires, by the name of the setting. */
export const certificateExpiries = <S extends Settings>(schemas: S, loaded: Loaded<S>): ReadonlyMap<string, Date> => {
  const given = Object.entries<unknown>(loaded).filter(([name]) => schemas[name]?.certificates)
  return new Map(
    given.map(([name, pem]) => {
      const ends = certificatesOf(name, String(pem)).map(({ validToDate }) => validToDate.getTime())
      return [name, new Date(Math.min(...ends))]
    }),
  )
}

/** @param expiries called for each scrape, because a changed file may have a new certificate. */
export const createCertificateMetric = (registry: Registry, expiries: () => ReadonlyMap<string, Date>) =>
  new Gauge({
    name: 'customer_stream_certificate_expiry_timestamp_seconds',
    help: 'Unix time when the first certificate of a setting expires, by setting. Absent without a certificate.',
    labelNames: ['setting'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [setting, end] of expiries()) this.set({ setting }, end.getTime() / 1000)
    },
  })
