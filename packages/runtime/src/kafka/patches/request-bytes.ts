import { createRequire } from 'node:module'

interface Encoder {
  readonly buffer: Buffer
  writeEncoder(value: { readonly buf: Buffer }): { readonly buf: Buffer }
}

const require = createRequire(import.meta.url)

/**
 * Bytes reserved for the header that kafkajs writes before a request: 14 bytes and the client id.
 * The first buffer of kafkajs' encoder has this size.
 */
const HEAD_BYTES = 512
const STEP_BYTES = 65_536
/** Maximum size of a buffer that is used again. Few requests need a larger buffer. */
const MAX_SPARE_BYTES = 1_048_576

let spare: Buffer | undefined

/**
 * Bytes of one request. Some bytes before the request are reserved for the header. kafkajs accepts
 * this object as an encoder.
 *
 * The memory is used again after {@link free}. Otherwise each request would leave its bytes to the
 * garbage collector, and the system would have to clear new pages for the next request.
 */
export class RequestBytes {
  /** Memory of the request. The memory may still have bytes of an earlier request. */
  readonly buf: Buffer
  /** Position of the next byte. */
  at = HEAD_BYTES
  #start = HEAD_BYTES

  constructor(bytes: number) {
    const needed = HEAD_BYTES + bytes
    if (spare && spare.length >= needed) {
      this.buf = spare
      spare = undefined
    } else this.buf = Buffer.allocUnsafeSlow(Math.ceil(needed / STEP_BYTES) * STEP_BYTES)
  }

  /** The bytes of the request. */
  get buffer(): Buffer {
    return this.buf.subarray(this.#start, this.at)
  }

  size(): number {
    return this.at - this.#start
  }

  /** Puts `head` before the request. @returns false if `head` is larger than the reserved bytes. */
  prepend(head: Buffer): boolean {
    if (head.length > this.#start) return false
    this.#start -= head.length
    this.buf.set(head, this.#start)
    return true
  }

  /** Gives the memory back. The socket must have written all bytes. */
  free(): void {
    if (this.buf.length <= MAX_SPARE_BYTES && this.buf.length > (spare?.length ?? 0)) spare = this.buf
  }
}

/**
 * Lets kafkajs put its header before the bytes of a request. kafkajs 2.2.4 copies the whole request
 * twice, into cleared buffers of up to twice its size.
 */
export const patchEncoder = (): void => {
  const { prototype } = require('kafkajs/src/protocol/encoder') as { prototype: Encoder }
  const { writeEncoder } = prototype
  prototype.writeEncoder = function (value) {
    return value instanceof RequestBytes && value.prepend(this.buffer) ? value : writeEncoder.call(this, value)
  }
}
