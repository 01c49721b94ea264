/**
 * Minimal webhook receiver in fastify, for comparison with the ingress: raw body, HMAC, two parses,
 * 202. If TOPIC is set, this program sends each body to Kafka before the answer, one record per
 * send. Prints its address.
 */
import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'
import { fastify } from 'fastify'
import { Kafka, logLevel } from 'kafkajs'

const { SECRET = '', KAFKA_BROKERS = '', TOPIC } = process.env
const key = createSecretKey(Buffer.from(SECRET))
const producer = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.ERROR }).producer()
if (TOPIC !== undefined) await producer.connect()
const app = fastify({ logger: false })
app.removeAllContentTypeParsers()
app.addContentTypeParser('text/plain', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
app.post('/webhooks/mykaarma', async (request, reply) => {
  const body = request.body as Buffer
  const given = Buffer.from(String(request.headers['mykaarma-signature-token']).slice('sha256='.length), 'hex')
  const wanted = createHmac('sha256', key).update(body).digest()
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return reply.code(401).send()
  const { payload } = JSON.parse(body.toString()) as { payload: string }
  const { customerUuid } = (JSON.parse(payload) as { customerWithVehicles: { customer: { customerUuid: string } } })
    .customerWithVehicles.customer
  if (TOPIC !== undefined)
    await producer.send({ topic: TOPIC, acks: -1, messages: [{ key: customerUuid, value: body }] })
  return reply
    .code(customerUuid ? 202 : 422)
    .type('application/json')
    .send('{"status":"accepted"}')
})
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
