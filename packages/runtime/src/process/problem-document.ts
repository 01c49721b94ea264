/** Problem documents (RFC 9457): the form of every error that a service answers. */

export const PROBLEM_CONTENT_TYPE = 'application/problem+json'

/** Status and title of each problem, by its `type`. */
type Problems<T extends string> = Readonly<Record<T, { readonly status: number; readonly title: string }>>

/**
 * Returns a function that makes the document of a problem. `detail` is one sentence about the
 * request, without secrets and without personal data.
 */
export const createProblemDocument =
  <T extends string>(problems: Problems<T>) =>
  (type: T, detail?: string) => ({
    type,
    ...problems[type],
    ...(detail !== undefined && { detail }),
  })

/** JSON Schema of these documents. */
export const problemSchema = (problems: Problems<string>) => ({
  type: 'object',
  required: ['type', 'status', 'title'],
  properties: {
    type: { enum: Object.keys(problems), description: 'Stable name of the problem. Programs may depend on this name.' },
    status: { type: 'integer' },
    title: { type: 'string' },
    detail: { type: 'string', description: 'Details about this answer.' },
  },
})
