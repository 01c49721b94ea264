import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { createAuthority } from '@customer-stream/testing/certificates'
import { expect, it, onTestFinished } from 'vitest'
import { createLogger } from '../process/log.ts'
import { loadSettings } from '../process/settings.ts'
import { createAdmin, createKafka, kafkaRules, kafkaSettings } from './index.ts'

it('a new connection uses the certificate that the settings have at that time', async () => {
  const authority = createAuthority()
  const [before, after] = [authority.issue('before'), authority.issue('after')]
  const seen: (string | undefined)[] = []
  const options = { ...authority.issue('broker', ['127.0.0.1']), ca: authority.ca, requestCert: true }
  // The server ends each connection after the TLS handshake, so the client connects again.
  const server = createServer(options, (socket: TLSSocket) => {
    seen.push(socket.getPeerCertificate().subject?.CN as string | undefined)
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const env = {
    KAFKA_BROKERS: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    KAFKA_SSL: 'true',
    KAFKA_SSL_CA: authority.ca,
    KAFKA_SSL_CERT: before.cert,
    KAFKA_SSL_KEY: before.key,
  }
  const settings = loadSettings(kafkaSettings, env, kafkaRules)
  const admin = createAdmin(createKafka(settings, { clientId: 'test', logger: createLogger('test', 'silent') }))
  await expect(admin.connect()).rejects.toThrow()
  expect(new Set(seen.splice(0))).toEqual(new Set(['before']))
  Object.assign(settings, { KAFKA_SSL_CERT: after.cert, KAFKA_SSL_KEY: after.key })
  await expect(admin.connect()).rejects.toThrow()
  expect(new Set(seen)).toEqual(new Set(['after']))
  await admin.disconnect()
})
