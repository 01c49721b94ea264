import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent, sign } from '@customer-stream/simulator'
import { mountVolume, openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterEach, beforeEach, expect, inject, it } from 'vitest'

let pipeline: Pipeline
let folder: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'secret-files-'))
  pipeline = await openPipeline(inject('brokers'))
})
afterEach(async () => {
  await pipeline.close()
  rmSync(folder, { recursive: true })
})

const mount = (secrets: string, tokens: string) => mountVolume(folder, { secrets, tokens })

/** Sends events without a pause, until `stop` is called. */
const startSender = (ingress: ServiceProcess) => {
  const credentials = { secret: 'old-secret', token: 'old-token' }
  const answers: number[] = []
  let isStopped = false
  const send = async () => {
    const { body } = makeCustomersEvent()
    const { secret, token } = credentials
    const headers = { 'mykaarma-signature-token': sign(body, secret), 'x-authorization-token': token }
    const answer = await pipeline.post(ingress, body, headers)
    await answer.arrayBuffer()
    answers.push(answer.status)
  }
  const run = async () => {
    while (!isStopped) await send()
  }
  const ended = run()
  return {
    credentials,
    answers,
    stop: async () => {
      isStopped = true
      await ended
    },
  }
}

it('no event is refused while webhook secrets and tokens change in their files under load', async () => {
  mount('old=old-secret', 'old=old-token')
  const ingress = await pipeline.start('ingress', {
    MYKAARMA_SIGNING_SECRETS: '',
    MYKAARMA_SIGNING_SECRETS_FILE: join(folder, 'secrets'),
    MYKAARMA_TOKENS: '',
    MYKAARMA_TOKENS_FILE: join(folder, 'tokens'),
    SECRET_FILES_CHECK_MS: '200',
  })
  await ingress.untilReady()
  const changes = () => ingress.metric('customer_stream_secret_changes_total')
  const untilChanged = (times: number) => waitUntil('the files are in use', changes, (count) => count === times)
  const sender = startSender(ingress)
  const untilSent = (count: number) =>
    waitUntil(
      'events are sent',
      () => sender.answers.length,
      (sent) => sent >= count,
    )

  await untilSent(50)
  mount('old=old-secret\nnew=new-secret', 'old=old-token,new=new-token')
  await untilChanged(1)
  Object.assign(sender.credentials, { secret: 'new-secret', token: 'new-token' })
  await untilSent(sender.answers.length + 50)
  // Garbage and emptied files change nothing.
  mount('', 'garbage')
  await waitUntil(
    'the files are refused',
    () => ingress.metric('customer_stream_secret_files_unusable'),
    (n) => n === 1,
  )
  await untilSent(sender.answers.length + 50)
  mount('new=new-secret', 'new=new-token')
  await untilChanged(2)
  await untilSent(sender.answers.length + 50)
  await sender.stop()

  expect(new Set(sender.answers)).toEqual(new Set([202]))
  expect(await ingress.metric('ingress_authenticated_total', { secret: 'new', token: 'new' })).toBeGreaterThan(100)
  const { body } = makeCustomersEvent()
  const headers = { 'mykaarma-signature-token': sign(body, 'old-secret'), 'x-authorization-token': 'old-token' }
  expect((await pipeline.post(ingress, body, headers)).status).toBe(401)
})
