import { isSampled, type Span, type TraceContext, type Tracer } from '@customer-stream/runtime'
import { traceContextOf } from '@customer-stream/schemas'
import type { Projected, RawRecord } from './project.ts'

/**
 * Maximum number of links of a span, the default of OpenTelemetry. A chunk may have more records.
 */
const MAX_LINKS = 128

export interface ChunkSpan {
  /**
   * @param isDone false if the chunk was paused or aborted, or if the position in Redis was not the
   *   expected position.
   */
  end(projected: Projected, isDone: boolean): void
}

/**
 * Starts the span of a chunk. Returns undefined if no record of the chunk has a trace that is
 * exported.
 */
export type StartChunkSpan = (
  records: readonly RawRecord[],
  partition: number,
  startedAt: number,
) => ChunkSpan | undefined

const sampledOf = (records: readonly RawRecord[]): TraceContext[] => {
  const sampled: TraceContext[] = []
  for (const { headers } of records) {
    const context = traceContextOf(headers)
    if (context && isSampled(context)) sampled.push(context)
    if (sampled.length === MAX_LINKS) break
  }
  return sampled
}

/**
 * Creates spans of chunks. A chunk with one sampled record continues the trace of this record. A
 * chunk with several sampled records begins a new trace, because a span has only one parent. In
 * both cases the span has a link to each sampled record.
 */
export const createChunkSpans =
  (tracer: Tracer | undefined, topic: string): StartChunkSpan =>
  (records, partition, startedAt) => {
    const links = tracer ? sampledOf(records) : []
    if (!tracer || links.length === 0) return undefined
    const parent = links.length === 1 ? links[0] : undefined
    const name = `process ${topic}`
    const span: Span = tracer.start({ name, kind: 'consumer', startedAt, parent, links, sampling: 'always' })
    return {
      end: ({ newest, poison, stale, duplicate }, isDone) =>
        span.end({
          'messaging.system': 'kafka',
          'messaging.operation.type': 'process',
          'messaging.destination.name': topic,
          'messaging.destination.partition.id': String(partition),
          'messaging.batch.message_count': records.length,
          'messaging.kafka.offset': Number(records[0]?.offset),
          'customer_stream.written': newest.length,
          'customer_stream.quarantined': poison.length,
          'customer_stream.superseded': stale + duplicate,
          'customer_stream.position_moved': isDone,
        }),
    }
  }
