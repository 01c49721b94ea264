/**
 * Minimal fastify server that answers each request with the HGETALL of one key, for comparison with
 * the reader. Prints its address.
 */
import { fastify } from 'fastify'
import { Redis } from 'ioredis'

const { REDIS_URL = '', KEY = '' } = process.env
const redis = new Redis(REDIS_URL)
const app = fastify({ logger: false })
app.get('/v1/customers/:customerUuid', async (_request, reply) =>
  reply.type('application/json').send(JSON.stringify(await redis.hgetall(KEY))),
)
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
