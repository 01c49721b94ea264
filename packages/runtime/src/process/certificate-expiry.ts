import type { Loaded, Settings } from './setting-kinds.ts'
import { certificatesOf } from './tls.ts'

/** Returns the earliest expiry of the certificates in each setting, by the name of the setting. */
export const certificateExpiries = <S extends Settings>(schemas: S, loaded: Loaded<S>): ReadonlyMap<string, Date> => {
  const given = Object.entries<unknown>(loaded).filter(([name]) => schemas[name]?.certificates)
  return new Map(
    given.map(([name, pem]) => {
      const ends = certificatesOf(name, String(pem)).map(({ validToDate }) => validToDate.getTime())
      return [name, new Date(Math.min(...ends))]
    }),
  )
}
