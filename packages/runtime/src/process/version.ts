import { readFileSync } from 'node:fs'

/**
 * Version of the service. All packages are released together, so this package has the same version.
 */
export const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string
}
