import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, startGuarded, waitUntil } from '@customer-stream/testing'
import { expect, inject, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

it('the schema package, packed and installed into an empty project, carries the subscriber of its README', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'subscriber-'))
  await run('npm', ['pack', '--silent', '--workspace', '@customer-stream/schemas', '--pack-destination', folder], { cwd: root })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'subscriber', version: '1.0.0', private: true, type: 'module' }))
  await run('npm', ['install', '--silent', '--no-audit', '--no-fund', './customer-stream-schemas-0.1.0.tgz', 'kafkajs@2.2.4'], {
    cwd: folder,
  })
  const [, sample = ''] = /```js subscriber\n(.*?)```/s.exec(readFileSync(join(root, 'packages/schemas/README.md'), 'utf8')) ?? []
  expect(sample).toContain('parseEvent')
  writeFileSync(join(folder, 'subscriber.js'), sample)

  // The types are there too, and say what the functions take.
  const options = { noEmit: true, strict: true, module: 'nodenext', types: [] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['typed.ts'] }))
  writeFileSync(
    join(folder, 'typed.ts'),
    "import { readVersion } from '@customer-stream/schemas'\nconst version: string = readVersion({})\n",
  )
  const checked = await run('npx', ['tsc', '-p', folder], { cwd: root }).catch((error: { stdout: string }) => error)
  expect(checked.stdout).toMatch(
    /^\S*typed.ts\(2,7\): error TS2322: Type 'Result<Version, VersionFault>' is not assignable to type 'string'/,
  )

  const pipeline = await openPipeline(inject('brokers'))
  try {
    const ingress = await pipeline.start('ingress')
    await ingress.untilReady()
    const { body, customerUuid } = makeCustomersEvent({ customer: { firstName: 'Renée' } })
    expect((await pipeline.post(ingress, body)).status).toBe(202)

    const logFile = join(folder, 'out.log')
    const env = {
      KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
      KAFKA_TOPIC_PREFIX: pipeline.topics.customers.replace('customers.raw', ''),
      GROUP_ID: 'subscriber',
      KAFKAJS_NO_PARTITIONER_WARNING: '1',
    }
    const subscriber = startGuarded({ command: process.execPath, args: [join(folder, 'subscriber.js')], env, logFile })
    await waitUntil(
      'the subscriber has printed the customer',
      () => readFileSync(logFile, 'utf8'),
      (output) => output.includes(`${customerUuid} Renée`),
    )
    await subscriber.end()
  } finally {
    await pipeline.close()
  }
})
