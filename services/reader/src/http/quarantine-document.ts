/** Answers about quarantine (the dead-letter topic). */
import { type Static, Type } from '@sinclair/typebox'

const summary = {
  id: Type.String({ description: '`<topic>-<partition>-<offset>`, for example `mykaarma.quarantine-3-17`.' }),
  partition: Type.Integer({ minimum: 0 }),
  offset: Type.String({ pattern: '^[0-9]+$' }),
  receivedAt: Type.Integer({ description: 'Time of receipt at the ingress, Unix milliseconds.' }),
  reason: Type.String({ description: 'A newer service may write a reason that this version does not know.' }),
  explanation: Type.String({ description: 'Meaning of the reason, one sentence for people.' }),
  stage: Type.String({ description: 'The service that wrote the record. Empty if it is not known.' }),
  source: Type.Union([Type.String(), Type.Null()], {
    description: '`topic/partition/offset` of the raw record, or the topic that refused the record.',
  }),
  bytes: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Length of the value. Null if quarantine has no bytes of the record.',
  }),
  handled: Type.Unsafe<'redriven' | 'dropped' | null>({
    enum: ['redriven', 'dropped', null],
    description: 'What an operator did with the record, or with another copy of the same original record.',
  }),
}

/** A record in the list of quarantine, without data of a customer. */
export const QuarantineSummary = Type.Object(summary)
export type QuarantineSummary = Static<typeof QuarantineSummary>

export const QuarantineList = Type.Object({
  records: Type.Array(QuarantineSummary, { description: 'The newest first.' }),
  cursor: Type.Optional(Type.String({ description: 'Place of the next page. Missing on the last page.' })),
  truncated: Type.Optional(
    Type.Boolean({ description: 'True if quarantine has older records. Only the newest 20,000 are listed.' }),
  ),
})
export type QuarantineList = Static<typeof QuarantineList>

export const QuarantineDetail = Type.Object({
  ...summary,
  key: Type.Union([Type.String(), Type.Null()], { description: 'customerUuid or event id, if known.' }),
  headers: Type.Record(Type.String(), Type.String()),
  text: Type.Optional(Type.String({ description: 'The bytes as text, if they are text in the declared charset.' })),
  base64: Type.Optional(Type.String({ description: 'The bytes, if they are not text.' })),
  history: Type.Array(
    Type.Object({
      action: Type.Unsafe<'redriven' | 'dropped'>({ enum: ['redriven', 'dropped'] }),
      at: Type.Integer({ description: 'Unix milliseconds.' }),
      requestedBy: Type.String(),
      note: Type.Optional(Type.String()),
      sentTo: Type.Optional(Type.String({ description: 'The topic to which the record was sent.' })),
    }),
    { description: 'Entries of the audit about this record.' },
  ),
})
export type QuarantineDetail = Static<typeof QuarantineDetail>

/** Answer to a redrive, or to its dry run. */
export const RedriveAnswer = Type.Object({
  id: Type.String(),
  outcome: Type.Unsafe<'redriven' | 'would-redrive' | 'refused' | 'handled-before'>({
    enum: ['redriven', 'would-redrive', 'refused', 'handled-before'],
    description: '`would-redrive`: only in the answer to a dry run. Nothing was written.',
  }),
  topic: Type.Optional(Type.String({ description: 'The topic to which the record was or would be sent.' })),
  refused: Type.Optional(Type.String({ description: 'The reason of the refusal.' })),
  why: Type.Optional(Type.String({ description: 'Explanation of the refusal, without data of a customer.' })),
})
export type RedriveAnswer = Static<typeof RedriveAnswer>
