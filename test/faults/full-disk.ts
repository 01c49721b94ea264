/**
 * An ingress loads this file before its own code. While a file `disk-is-full` is in the parent
 * folder of SPOOL_DIR, each write through a FileHandle fails as on a full disk. A write that makes
 * the file longer stores half of its bytes before it fails. A write inside the file stores no
 * bytes, because file systems write whole blocks. Limits of the kernel are not used, because
 * prlimit needs Linux and a small file system needs root.
 */
import { existsSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'

const { env } = process
const flag = join(dirname(env.SPOOL_DIR ?? ''), 'disk-is-full')
const handle = await open(import.meta.filename)
const prototype: {
  write: (this: FileHandle, bytes: Buffer, offset: number, length: number, position: number) => unknown
} = Object.getPrototypeOf(handle)
await handle.close()
const { write } = prototype
prototype.write = async function (bytes, offset, length, position) {
  if (!existsSync(flag)) return write.call(this, bytes, offset, length, position)
  const { size } = await this.stat()
  if (position + length > size) await write.call(this, bytes, offset, length >> 1, position)
  throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
}
