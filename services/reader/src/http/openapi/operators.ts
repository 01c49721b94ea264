/** The operations for the operators: the pipeline and quarantine (the dead-letter topic). */
import { PIPELINE_PATH } from '../pipeline-route.ts'
import { MAX_RECORDS_PER_PAGE, QUARANTINE_PATH } from '../quarantine-routes.ts'
import { jsonAnswer, ofOneCustomer, problemResponses } from './responses.ts'

const getPipeline = () => ({
  operationId: 'getPipeline',
  summary: 'Returns whether all is well, the rates, the lag, quarantine, and the last hour.',
  description: 'Needs the scope `operate` and a key for all dealers.',
  responses: {
    200: {
      description: 'The last measurement. The reader measures every 10 s.',
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Pipeline' } } },
    },
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type']),
  },
})

const recordId = {
  name: 'id',
  in: 'path',
  required: true,
  description: '`<topic>-<partition>-<offset>`.',
  schema: { type: 'string' },
}

const listQuarantine = () => ({
  operationId: 'listQuarantine',
  summary: 'Lists the newest records of quarantine (the dead-letter topic), without their bytes.',
  description: 'Needs the scope `operate` and a key for all dealers.',
  parameters: [
    { name: 'reason', in: 'query', description: 'Only records with this reason.', schema: { type: 'string' } },
    { name: 'cursor', in: 'query', description: 'The cursor of the previous page.', schema: { type: 'string' } },
    {
      name: 'limit',
      in: 'query',
      schema: { type: 'integer', minimum: 1, maximum: MAX_RECORDS_PER_PAGE, default: 100 },
    },
  ],
  responses: {
    200: jsonAnswer('A page of records, the newest first.', 'QuarantineList'),
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type']),
  },
})

const getQuarantined = () => ({
  operationId: 'getQuarantineRecord',
  summary: 'Returns one record of quarantine with its bytes.',
  description: 'Needs the scopes `operate` and `pii`, and a key for all dealers. The log has a line for each answer.',
  parameters: [recordId],
  responses: {
    200: jsonAnswer('The record.', 'QuarantineRecord'),
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type'], ['record-not-found']),
  },
})

const redriveRecord = () => ({
  operationId: 'redriveQuarantineRecord',
  summary: 'Sends a record of quarantine to its raw topic again.',
  description: 'Needs the scope `operate` and a key for all dealers. The audit gets the name of the key.',
  parameters: [
    recordId,
    { name: 'dry-run', in: 'query', description: '1: writes nothing.', schema: { enum: ['0', '1'] } },
  ],
  responses: {
    200: jsonAnswer('What was done, or why nothing was done.', 'Redrive'),
    ...problemResponses(ofOneCustomer, ['record-not-found', 'redrive-running', 'redrive-unavailable']),
  },
})

export const operatorPaths = () => ({
  [PIPELINE_PATH]: { get: getPipeline() },
  [QUARANTINE_PATH]: { get: listQuarantine() },
  [`${QUARANTINE_PATH}/{id}`]: { get: getQuarantined() },
  [`${QUARANTINE_PATH}/{id}/redrive`]: { post: redriveRecord() },
})
