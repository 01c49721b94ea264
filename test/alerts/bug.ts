/**
 * An ingress loads this file before its own code. While the file `bug-PORT` is in BUG_FOLDER, each
 * request of this ingress fails, as if the ingress had a bug.
 */
import crypto from 'node:crypto'
import { existsSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'

const { env } = process
const flag = join(env.BUG_FOLDER ?? '', `bug-${env.PORT}`)
const { timingSafeEqual } = crypto
crypto.timingSafeEqual = (a, b) => {
  if (existsSync(flag)) throw new Error('this is a bug')
  return timingSafeEqual(a, b)
}
syncBuiltinESMExports()
