import { createAuthority } from '@customer-stream/testing/certificates'
import { expect, it } from 'vitest'
import { certificateExpiries } from './certificate-expiry.ts'
import { createRegistry } from './metrics.ts'
import { createCertificateMetric } from './secret-files.ts'
import { optionalCertificates, optionalSecret } from './setting-kinds.ts'
import { loadSettings } from './settings.ts'

const schemas = {
  CA: optionalCertificates({ description: '' }),
  CERT: optionalCertificates({ description: '' }),
  KEY: optionalSecret({ description: '' }),
}
const authority = createAuthority()
const endingAt = (seconds: number) => authority.issue('client', [], new Date(seconds * 1000)).cert

it('the metric has the earliest certificate expiry of each setting, even after a file has changed', async () => {
  const bundle = endingAt(2_000_000_000) + endingAt(1_000_000_000) + authority.ca
  const loaded = loadSettings(schemas, { CA: bundle, KEY: 'no certificate' })
  const metric = createCertificateMetric(createRegistry('test'), () => certificateExpiries(schemas, loaded))
  const values = async () => (await metric.get()).values.map(({ labels, value }) => [labels.setting, value])
  expect(await values()).toEqual([['CA', 1_000_000_000]])
  Object.assign(loaded, { CERT: endingAt(1_500_000_000) })
  expect(await values()).toEqual([
    ['CA', 1_000_000_000],
    ['CERT', 1_500_000_000],
  ])
})
