import type { IncomingMessage } from 'node:http'
import { type Linked, LinkedSet } from '../linked-set.ts'

/**
 * Reason why a body was not received. `incomplete`: the connection was closed before the end of the
 * body.
 */
export type BodyFailure = 'too-large' | 'too-many-bodies' | 'incomplete'

export class BodyError extends Error {
  readonly problem: BodyFailure
  constructor(problem: BodyFailure) {
    super(problem)
    this.name = 'BodyError'
    this.problem = problem
  }
}

export interface ReceiveBodyOptions {
  readonly maxBodyBytes: number
  /** Maximum bytes of memory that all incomplete bodies together may use. */
  readonly maxBytesTogether: number
}

/**
 * Maximum number of chunks of a body that are kept without a copy. A usual body has fewer chunks.
 */
const MAX_UNCOPIED_CHUNKS = 8
/**
 * After MAX_UNCOPIED_CHUNKS chunks, each chunk with fewer bytes than this is copied into a block.
 */
const SMALL_CHUNK_BYTES = 4096
const BLOCK_BYTES = 16_384
/**
 * Estimated memory of a Buffer without its bytes: 210 bytes of heap, and some memory outside the
 * heap.
 */
const BUFFER_OVERHEAD_BYTES = 300

const NO_BLOCK = Buffer.alloc(0)

/**
 * Collects the chunks of one body. Node creates a separate Buffer for each chunk, so a body in
 * one-byte chunks would use 300 times its size.
 *
 * This is a class, because V8 creates a new hidden class for each object literal with getters. The
 * hidden class would keep the chunks of the body in memory until the next major garbage collection.
 */
class BodyParts {
  bytes = 0
  /** Bytes of memory, including Buffer objects and unused bytes of blocks. */
  memory = 0
  readonly #parts: Buffer[] = []
  #block = NO_BLOCK
  // The bytes of the block from `#start` to `#used` are not in `#parts` yet.
  #start = 0
  #used = 0

  add(chunk: Buffer): void {
    this.bytes += chunk.length
    if (this.#parts.length >= MAX_UNCOPIED_CHUNKS && chunk.length < SMALL_CHUNK_BYTES) this.#copy(chunk)
    else {
      this.#pushCopies()
      this.#push(chunk)
      this.memory += chunk.length
    }
  }

  /**
   * Returns the body as one buffer. Copies a single chunk only if it is a view of a larger buffer,
   * because a view keeps the whole buffer in memory.
   */
  joined(): Buffer {
    this.#pushCopies()
    const [only] = this.#parts
    return only && this.bytes === only.buffer.byteLength ? only : Buffer.concat(this.#parts, this.bytes)
  }

  #push(part: Buffer) {
    this.memory += BUFFER_OVERHEAD_BYTES
    this.#parts.push(part)
  }

  #pushCopies() {
    if (this.#used > this.#start) this.#push(this.#block.subarray(this.#start, this.#used))
    this.#start = this.#used
  }

  #copy(chunk: Buffer) {
    for (let copied = 0; copied < chunk.length; ) {
      if (this.#used === this.#block.length) {
        this.#pushCopies()
        this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
        this.memory += BLOCK_BYTES
        this.#start = this.#used = 0
      }
      const count = chunk.copy(this.#block, this.#used, copied)
      copied += count
      this.#used += count
    }
  }
}

interface Receiving extends Linked<Receiving> {
  fail(problem: BodyFailure): void
}

/**
 * Receives request bodies as bytes, with a limit for each body and a limit for all bodies together.
 * Without limits any stranger could fill the memory, because the sender is not authenticated yet.
 * If all bodies together exceed the limit, the ingress drops the body that has made no progress for
 * the longest time. So stalled bodies do not block other senders. If only one body is being
 * received, the limit for all bodies does not apply. Otherwise a body of `maxBodyBytes`, which
 * needs more memory than its bytes, could be dropped.
 */
export const createReceiveBody = ({ maxBodyBytes, maxBytesTogether }: ReceiveBodyOptions) => {
  // Incomplete bodies, sorted by the time of their last progress.
  const arriving = new LinkedSet<Receiving>()
  let bytesTogether = 0

  return (request: IncomingMessage, done: (error: BodyError | null, body?: Buffer) => void): void => {
    const parts = new BodyParts()
    const receiving: Receiving = { fail: (problem) => end(new BodyError(problem)) }

    const onData = (chunk: Buffer) => {
      const memoryBefore = parts.memory
      parts.add(chunk)
      bytesTogether += parts.memory - memoryBefore
      if (parts.bytes > maxBodyBytes) return receiving.fail('too-large')
      arriving.delete(receiving)
      arriving.add(receiving)
      if (bytesTogether > maxBytesTogether && arriving.size > 1) arriving.first?.fail('too-many-bodies')
    }
    const onEnd = () => end(null)
    const onClose = () => receiving.fail('incomplete')
    const end = (error: BodyError | null) => {
      request.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
      arriving.delete(receiving)
      bytesTogether -= parts.memory
      // Ignore later errors of the request, because its connection may close before the end of the
      // body.
      if (error) request.on('error', () => undefined)
      if (error) done(error)
      else done(null, parts.joined())
    }
    if (Number(request.headers['content-length']) > maxBodyBytes) receiving.fail('too-large')
    else request.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
  }
}
