/** `customer-stream --version`: the version, and the commit if it is known. */
import { execFileSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import { version } from '@customer-stream/runtime'

const root = resolve(import.meta.dirname, '../../..')

/** Returns the commit of a clone. Undefined in an image, which has no git. */
const commitOfClone = (): string | undefined => {
  try {
    const words = ['-C', root, 'rev-parse', '--show-toplevel', '--short', 'HEAD']
    const [top = '', commit] = execFileSync('git', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trim()
      .split('\n')
    // Compare the root, because the folder may be inside a repository of another project.
    return top === realpathSync(root) ? commit : undefined
  } catch {
    return undefined
  }
}

export const versionText = (): string => {
  // The Dockerfile sets this variable.
  const commit = process.env.CUSTOMER_STREAM_COMMIT || commitOfClone()
  return `customer-stream ${version}${commit === undefined ? '' : ` (${commit})`}`
}
