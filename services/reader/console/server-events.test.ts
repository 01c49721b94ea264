import { expect, it } from 'vitest'
import { readServerEvents, type ServerEvent } from './server-events.ts'

it('events that arrive in parts are read whole, and a heartbeat moves the position', async () => {
  const text =
    ': beat\nid: 1\n\nid: 2\nevent: changed\ndata: {"a":\ndata: "é"}\n\nid: 3\nevent: removed\ndata: {}\n\nid: 4\nda'
  const bytes = new TextEncoder().encode(text)
  const parts = Array.from({ length: Math.ceil(bytes.length / 7) }, (_, i) => bytes.slice(i * 7, i * 7 + 7))
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => {
      for (const part of parts) stream.enqueue(part)
      stream.close()
    },
  })
  const [events, ids]: [ServerEvent[], string[]] = [[], []]
  await readServerEvents(
    new Response(body),
    (event) => events.push(event),
    (id) => ids.push(id),
  )
  expect(events).toEqual([
    { name: 'changed', data: '{"a":\n"é"}' },
    { name: 'removed', data: '{}' },
  ])
  expect(ids).toEqual(['1', '2', '3'])
})
