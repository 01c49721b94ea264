import type { IncomingMessage } from 'node:http'

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

interface Receiving {
  bytes: number
  fail(problem: BodyFailure): void
}

export interface ReceiveBodyOptions {
  readonly maxBodyBytes: number
  /** Bytes of all incomplete bodies. */
  readonly maxBytesTogether: number
}

/**
 * Returns the chunks as one buffer. Copies a single chunk only if it is a view of a larger buffer,
 * because a view keeps the whole buffer in memory.
 */
const joined = (chunks: readonly Buffer[], bytes: number): Buffer => {
  const [only] = chunks
  return only && bytes === only.buffer.byteLength ? only : Buffer.concat(chunks, bytes)
}

/**
 * Receives request bodies as bytes, with a limit for each body and a limit for all bodies together.
 * Without limits any stranger could fill the memory, because the sender is not authenticated yet.
 * If all bodies together exceed the limit, the body without progress for the longest time is
 * dropped. So stalled bodies do not block other senders.
 */
export const createReceiveBody = ({ maxBodyBytes, maxBytesTogether }: ReceiveBodyOptions) => {
  // Incomplete bodies, sorted by the time of their last progress.
  const arriving = new Set<Receiving>()
  let bytesTogether = 0

  return (request: IncomingMessage, done: (error: BodyError | null, body?: Buffer) => void): void => {
    const chunks: Buffer[] = []
    const receiving: Receiving = { bytes: 0, fail: (problem) => end(new BodyError(problem)) }

    const onData = (chunk: Buffer) => {
      receiving.bytes += chunk.length
      bytesTogether += chunk.length
      chunks.push(chunk)
      if (receiving.bytes > maxBodyBytes) return receiving.fail('too-large')
      arriving.delete(receiving)
      arriving.add(receiving)
      if (bytesTogether > maxBytesTogether) arriving.values().next().value?.fail('too-many-bodies')
    }
    const onEnd = () => end(null)
    const onClose = () => receiving.fail('incomplete')
    const end = (error: BodyError | null) => {
      request.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
      arriving.delete(receiving)
      bytesTogether -= receiving.bytes
      // Ignore later errors of the request, because its connection may close before the end of the
      // body.
      if (error) request.on('error', () => undefined)
      if (error) done(error)
      else done(null, joined(chunks, receiving.bytes))
      chunks.length = 0
    }
    if (Number(request.headers['content-length']) > maxBodyBytes) receiving.fail('too-large')
    else request.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
  }
}
