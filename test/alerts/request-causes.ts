/** Faults that are caused by requests or by files of an ingress. */
import { rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { askReader, kafkajsOf } from '@customer-stream/testing'
import type { ManagedService } from '../faults/harness/managed-services.ts'
import { type Cause, noRepair } from './cause.ts'
import type { Site } from './site.ts'

const WEBHOOK = '/webhooks/mykaarma'
const times = <T>(count: number, work: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, work))

/** Sends requests one after another over one connection. */
const send = async (count: number, { process }: ManagedService, path: string, options: RequestInit) => {
  for (let i = 0; i < count; i++) await (await fetch(process.url + path, options)).text()
}

/** Opens connections to the public port, and sends this text on each. */
const openSockets = (count: number, { process }: ManagedService, text: string): Promise<Socket[]> => {
  const { hostname, port } = new URL(process.url)
  return times(count, async () => {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => undefined)
    socket.write(text)
    return socket
  })
}

const STALLED_BODY =
  `POST ${WEBHOOK} HTTP/1.1\r\nhost: ingress\r\ncontent-type: text/plain\r\ncontent-length: 900000\r\n\r\n` +
  'x'.repeat(400_000)

const bugFile = ({ files }: Site, { url }: { readonly url: string }) => join(files, `bug-${new URL(url).port}`)

/** Makes each request of a process fail until all alerts have fired. */
const failRequests = (site: Site, process: { readonly url: string }, fired: AbortSignal) => {
  const file = bugFile(site, process)
  writeFileSync(file, '')
  fired.addEventListener('abort', () => rmSync(file))
}

const produce = async ({ pipeline }: Site, topic: string, value: string) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await producer.send({ topic, messages: [{ key: 'key', value }] })
  await producer.disconnect()
}

/** Posts an event until it gets 202, because other faults of the round may cause a refusal. */
const postAccepted = ({ pipeline, ingresses }: Site, { body }: { readonly body: string }): Promise<number> =>
  waitUntil(
    'the event is accepted',
    async () => (await pipeline.post(ingresses[0]!.process, body)).status,
    (status) => status === 202,
  )

/** Posts an event that gets 202 and goes to quarantine. */
export const postSuspicious = (site: Site): Promise<number> => postAccepted(site, makeCustomersEvent({ timestamp: 0 }))

export const requestCauses: readonly Cause[] = [
  {
    fault: 'the sender signs with a wrong secret',
    alerts: ['SenderRefused', 'SenderRefusedOften'],
    inject: ({ pipeline, ingresses }) =>
      times(10, () =>
        pipeline.post(ingresses[0]!.process, makeCustomersEvent().body, { 'mykaarma-signature-token': 'sha256=00' }),
      ),
    repair: noRepair,
  },
  {
    fault: 'a stranger posts to the webhook',
    alerts: ['UnauthenticatedRequests'],
    inject: ({ ingresses }) => send(80, ingresses[0]!, WEBHOOK, { method: 'POST', body: '{}' }),
    repair: noRepair,
  },
  {
    fault: 'a stranger looks for other paths',
    alerts: ['RequestsOfStrangers'],
    inject: ({ ingresses }) => send(150, ingresses[0]!, '/admin', {}),
    repair: noRepair,
  },
  {
    fault: 'a request comes from an address that is not allowed',
    alerts: ['ForbiddenAddress'],
    inject: ({ ingresses }) =>
      send(1, ingresses[0]!, WEBHOOK, { method: 'POST', body: '{}', headers: { 'x-forwarded-for': '203.0.113.7' } }),
    repair: noRepair,
  },
  {
    fault: 'senders stop in the middle of their bodies',
    alerts: ['TooManyBodies'],
    inject: async ({ ingresses }, fired) => {
      const sockets = await openSockets(4, ingresses[0]!, STALLED_BODY)
      fired.addEventListener('abort', () => {
        for (const socket of sockets) socket.destroy()
      })
    },
    repair: noRepair,
  },
  {
    fault: 'a client opens connections and sends nothing',
    alerts: ['ConnectionsDropped'],
    inject: async ({ ingresses }) => {
      const sockets = await openSockets(300, ingresses[1]!, '')
      await sleep(2000)
      for (const socket of sockets) socket.destroy()
    },
    repair: noRepair,
  },
  {
    fault: 'a bug makes each request fail',
    alerts: ['InternalErrors'],
    inject: async (site, fired) => failRequests(site, site.ingresses[1]!.process, fired),
    repair: noRepair,
  },
  {
    fault: 'a bug makes a request to the reader fail',
    alerts: ['ReaderErrors'],
    inject: async (site, fired) => {
      failRequests(site, site.reader, fired)
      await askReader(site.reader, '/v1/customers/nobody')
    },
    repair: noRepair,
  },
  {
    fault: 'a client of the reader uses a key that was removed',
    alerts: ['ReaderKeyRefused'],
    inject: async ({ reader }, fired) => {
      // For some time, the injected bug may also fail these requests.
      const ask = () => askReader(reader, '/v1/customers/nobody', { headers: { authorization: 'Bearer old' } })
      while (!fired.aborted) await times(20, ask).then(() => sleep(500))
    },
    repair: noRepair,
  },
  {
    fault: 'the sender adds a field',
    alerts: ['SenderDrift'],
    inject: (site) => postAccepted(site, makeCustomersEvent({ customer: { leadSource: 'fair' } })),
    repair: noRepair,
  },
  {
    fault: 'an event has a timestamp in the wrong unit',
    alerts: ['SuspiciousEvents', 'RecordsQuarantined'],
    inject: postSuspicious,
    repair: noRepair,
  },
  {
    fault: 'a program writes a record that is not an erasure to the erasures topic',
    alerts: ['ErasuresUnusable'],
    inject: (site) => produce(site, site.pipeline.erasuresTopic, 'not an erasure'),
    repair: noRepair,
  },
]
