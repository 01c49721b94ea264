/** Answers that several operations share. */
import { PROBLEM_CONTENT_TYPE } from '@customer-stream/runtime'
import { type Problem, problems } from '../problem.ts'

const RETRY_AFTER = { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds.' } }

const problemResponse = (types: readonly Problem[], status: number) => ({
  description: types.map((type) => `${type}: ${problems[type].title}`).join(' '),
  ...((status === 429 || status >= 503) && { headers: RETRY_AFTER }),
  content: {
    [PROBLEM_CONTENT_TYPE]: {
      schema: {
        allOf: [{ $ref: '#/components/schemas/Problem' }],
        properties: { type: { enum: types }, status: { const: status } },
      },
    },
  },
})

/**
 * Problems of requests to an unknown path or with a wrong method. These problems belong to no
 * operation.
 */
const notOfAnOperation: readonly Problem[] = ['not-found', 'method-not-allowed']

/** Problems that only a few operations have. */
const ofOneOperation: readonly Problem[] = [
  'position-gone',
  'record-not-found',
  'redrive-running',
  'redrive-unavailable',
]

/**
 * @param others problems that this operation never has.
 * @param own problems that only this operation has.
 */
export const problemResponses = (others: readonly Problem[] = [], own: readonly Problem[] = []) => {
  const never = [...notOfAnOperation, ...others, ...ofOneOperation.filter((type) => !own.includes(type))]
  const types = (Object.keys(problems) as Problem[]).filter((type) => !never.includes(type))
  const byStatus = Map.groupBy(types, (type) => problems[type].status)
  return Object.fromEntries([...byStatus].map(([status, each]) => [status, problemResponse(each, status)]))
}

/** Problems of requests with a customerUuid in the path, or with the parameter `min-version`. */
export const ofOneCustomer = ['customer-not-found', 'version-not-reached'] as const

export const jsonAnswer = (description: string, schema: string) => ({
  description,
  content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
})
