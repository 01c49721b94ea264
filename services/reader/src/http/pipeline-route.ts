/** `GET /v1/pipeline` */
import type { FastifyInstance } from 'fastify'
import type { PipelineWatch } from '../pipeline/watch.ts'
import { invalid } from './parameters.ts'
import { ProblemError } from './problem.ts'

export const PIPELINE_PATH = '/v1/pipeline'

export const addPipelineRoute = (
  app: FastifyInstance,
  { pipeline }: { readonly pipeline: Pick<PipelineWatch, 'document'> },
): void => {
  app.get(PIPELINE_PATH, { config: { scope: 'operate' } }, async (request, reply) => {
    if (Object.keys(request.query as object).length > 0) throw invalid('This request has no parameters.')
    const document = pipeline.document()
    if (document === undefined) throw new ProblemError('unavailable', 'The pipeline has not been measured yet.')
    reply.headers({ 'cache-control': 'no-store', vary: 'authorization' })
    return document
  })
}
