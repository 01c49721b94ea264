import { readFile } from 'node:fs/promises'
import { requestErasure } from '@customer-stream/cli/request-erasure'
import { waitUntil } from '@customer-stream/runtime'
import { createVerifiedProducer, readTopic } from '@customer-stream/runtime/kafka'
import { customerKey, PROJECTION_VERSION, positionsKey } from '@customer-stream/schemas'
import { type MadeEvent, makeCustomersEvent, sign } from '@customer-stream/simulator'
import { changedSettings, type Fault, lasting, sumOver } from './fault.ts'
import type { FaultHarness } from './harness/fault-harness.ts'
import type { ManagedService } from './harness/managed-services.ts'
import { mustEnd, replaceIngress } from './harness/replace.ts'

const jumpingClock = `--import ${new URL('./jumping-clock.ts', import.meta.url).href}`

const interrupted = `--import ${new URL('./interrupted.ts', import.meta.url).href}`

const postAll = async (harness: FaultHarness, events: readonly MadeEvent[]) => {
  const [ingress] = harness.ingresses
  if (!ingress) throw new Error('no ingress')
  for (const event of events) {
    const { status } = await harness.post(ingress, event)
    if (status !== 202) throw new Error(`answered ${status}`)
  }
}

/** Settings of a projector that reads ahead even if it is only a few records behind. */
const READS_AHEAD = { LOOKAHEAD_RECORDS: '100', CHUNK_RECORDS: '20' }

/** Waits until the hash of positions has fields with this suffix. */
const untilSome = ({ pipeline }: FaultHarness, suffix: string, what: string) =>
  waitUntil(
    what,
    () => pipeline.redis.hkeys(positionsKey(PROJECTION_VERSION, pipeline.keyPrefix)),
    (fields) => fields.some((field) => field.endsWith(suffix)),
  )

const untilAlone = ({ process }: ManagedService) =>
  waitUntil(
    'the other projector has all partitions',
    () => process.metric('projector_assigned_partitions'),
    (count) => count === PARTITIONS,
  )

/** Makes `interrupted.ts` pause the process at its next write of the chosen kind. */
const armPause = ({ process }: ManagedService) => process.signal('SIGWINCH')

const untilPaused = ({ process }: ManagedService) =>
  waitUntil(
    'the projector is paused',
    () => readFile(process.logFile, 'utf8'),
    (log) => log.includes('interrupted with SIGSTOP'),
  )

/**
 * Erases customers that have a hash, and returns their ids. Half of these customers get no more
 * events, so only the erasure itself can publish their tombstones.
 */
const eraseSome = async (harness: FaultHarness): Promise<string[]> => {
  const { redis, keyPrefix } = harness.pipeline
  const prefix = customerKey('', keyPrefix).slice(0, -1)
  const busy = (await redis.keys(`${prefix}*`)).slice(0, 20).map((key) => key.slice(prefix.length, -1))
  const made = Array.from({ length: 20 }, () => makeCustomersEvent())
  await postAll(harness, made)
  const silent = made.map(({ customerUuid }) => customerUuid)
  await waitUntil(
    'the new customers are in Redis',
    () => redis.exists(silent.map((customerUuid) => customerKey(customerUuid, keyPrefix))),
    (count) => count === silent.length,
  )
  await eraseAll(harness.pipeline, [...busy, ...silent])
  return [...busy, ...silent]
}

/** Erases every second customer forever, and the other customers until now. */
const eraseAll = async ({ kafka, erasuresTopic }: FaultHarness['pipeline'], customers: readonly string[]) => {
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 5000 })
  await producer.connect()
  await producer.setPartitions(new Map([[erasuresTopic, PARTITIONS]]))
  for (const [i, customerUuid] of customers.entries()) {
    const scope = i % 2 === 0 ? 'forever' : 'until-now'
    await requestErasure(producer, erasuresTopic, { customerUuid, scope, reason: 'asked', requestedBy: 'test' })
  }
  await producer.disconnect()
}

/**
 * Starts a projector again. `interrupted.ts` then pauses the projector at its next call of a Lua
 * script, or at its next produce request. `cause` must lead to this call.
 */
const pauseAt = async <T>(projector: ManagedService, what: string, cause: () => Promise<T>): Promise<T> => {
  await projector.kill()
  await projector.restart({ NODE_OPTIONS: interrupted, INTERRUPTED: `${what} SIGSTOP` })
  await projector.process.untilReady()
  armPause(projector)
  const caused = await cause()
  await untilPaused(projector)
  return caused
}

/**
 * Deletes a topic, and waits until no broker knows of it. A broker accepts records for a deleted
 * topic until it learns of the deletion. If the topic is created again meanwhile, the new topic
 * lacks these records.
 */
const deleteTopic = async ({ administrator }: FaultHarness['pipeline'], topic: string) => {
  await administrator.deleteTopics({ topics: [topic] })
  const ask = () =>
    administrator.fetchTopicMetadata({ topics: [topic] }).then(
      () => true,
      () => false,
    )
  const isKnown = async () => {
    // Ask 20 times, because kafkajs asks a random broker each time.
    for (let asked = 0; asked < 20; asked++) if (await ask()) return true
    return false
  }
  await waitUntil(`no broker knows of topic ${topic}`, isKnown, (known) => !known)
}

/** Waits until `interrupted.ts` has killed the projector. */
const untilKilled = async ({ process }: ManagedService) => {
  const code = await process.ended
  if (code !== KILLED) throw new Error(`a projector ended with ${code} before it was killed`)
}

/**
 * Continues a paused projector when another projector has got its partitions and `work` has ended.
 */
const continueLate = async (paused: ManagedService, other: ManagedService, work: () => Promise<unknown>) => {
  await untilAlone(other)
  await work()
  paused.process.signal('SIGCONT')
}

const PARTITIONS = 12
const HOUR_MS = 3_600_000
/** Exit code in the form of a shell: 128 plus the number of the signal. */
const KILLED = 137

export const serviceFaults: readonly Fault[] = [
  {
    name: 'ingress killed',
    how: 'each ingress is killed under load and restarted',
    inject: async ({ ingresses, untilPromised }) => {
      for (const ingress of ingresses) {
        await ingress.kill()
        await ingress.restart()
        await untilPromised(100)
      }
    },
  },
  {
    name: 'projector killed',
    how:
      'a projector is killed at any moment, then between a call of Redis and its reply, before documents are ' +
      'sent, and between the documents and the position of a chunk; it restarts each time',
    inject: async ({ projectors, untilPromised, pipeline }, scale) => {
      const moments = [
        'apply-snapshots SIGKILL',
        `${pipeline.stateTopic} SIGKILL before`,
        'move-position SIGKILL before',
      ]
      for (let round = 0; round < Math.round(1 + scale); round++) {
        for (const [i, moment] of moments.entries()) {
          const projector = projectors[(round + i) % projectors.length] as ManagedService
          await projector.kill()
          await projector.restart({ NODE_OPTIONS: interrupted, INTERRUPTED: moment })
          await untilKilled(projector)
          await projector.restart()
          await untilPromised(200)
        }
      }
    },
  },
  {
    name: 'state published late',
    how:
      'a projector is paused after its write to Redis, and another time after its documents (SIGSTOP for longer ' +
      'than the session timeout), and continues after another projector has published newer documents',
    inject: async ({ projectors, untilPromised, pipeline }) => {
      const [paused, other] = projectors as [ManagedService, ManagedService]
      for (const moment of [pipeline.stateTopic, 'move-position']) {
        await pauseAt(paused, moment, () => untilPromised(500))
        await continueLate(paused, other, () => untilPromised(2000))
        await waitUntil(
          'the paused projector moves the position back',
          () => paused.process.metric('projector_state_repairs_total'),
          (repairs) => repairs > 0,
        )
      }
    },
  },
  {
    name: 'state topic deleted',
    how: 'the state topic is deleted, and later created again without records',
    inject: async ({ projectors, pipeline }) => {
      const { administrator, stateTopic } = pipeline
      const configEntries = await changedSettings(pipeline, stateTopic)
      const failures = () => sumOver(projectors, 'projector_failures_total', { operation: 'state' })
      await deleteTopic(pipeline, stateTopic)
      // On a busy machine, requests may have failed before the topic was deleted.
      const before = await failures()
      await waitUntil('a projector waits for the state topic', failures, (count) => count > before)
      await administrator.createTopics({
        topics: [{ topic: stateTopic, numPartitions: PARTITIONS, replicationFactor: 3, configEntries }],
        waitForLeaders: false,
      })
      await waitUntil(
        'a projector goes back and applies everything again',
        () => Promise.all(projectors.map(({ process }) => readFile(process.logFile, 'utf8'))),
        (logs) => logs.some((log) => log.includes('"event":"state-incomplete"')),
      )
    },
  },
  {
    name: 'rebuild interrupted',
    how:
      'Redis and the group’s offsets are deleted, so all raw records are applied; a projector is killed while it ' +
      'applies records of its lookahead; then the other is paused for longer than the session timeout, and loses its ' +
      'partitions',
    options: { projectorEnv: READS_AHEAD },
    inject: async (harness, scale) => {
      const { projectors, untilPromised } = harness
      const [killed, paused] = projectors as [ManagedService, ManagedService]
      /**
       * Removes all data of Redis and all offsets of the group. Starts only this projector. The
       * projector pauses while it applies records that it has read ahead.
       */
      const pauseWithin = async (projector: ManagedService) => {
        for (const each of projectors) await each.end()
        await harness.pipeline.administrator.deleteGroups([harness.pipeline.groupId])
        await harness.pipeline.redis.flushall()
        await projector.restart({ NODE_OPTIONS: interrupted, INTERRUPTED: 'apply-snapshots SIGSTOP' })
        await untilSome(harness, '#window', 'the projector has read ahead')
        armPause(projector)
        await untilPaused(projector)
      }
      await untilPromised(3000)
      for (let round = 0; round < Math.round(1 + 2 * scale); round++) {
        await pauseWithin(killed)
        await killed.kill()
        await Promise.all([killed.restart(), paused.restart()])
        await killed.process.untilReady()
      }
      await pauseWithin(paused)
      await killed.restart()
      await continueLate(paused, killed, () => untilPromised(200))
    },
  },
  {
    name: 'fill interrupted',
    how:
      'Redis is emptied; a projector is killed while it fills Redis from the state topic; the other is paused ' +
      'during the fill for longer than the session timeout, and loses its partitions',
    inject: async (harness, scale) => {
      const { projectors, pipeline, untilPromised } = harness
      const [killed, paused] = projectors as [ManagedService, ManagedService]
      await untilPromised(3000)
      for (let round = 0; round < Math.round(1 + 2 * scale); round++) {
        await killed.kill()
        await killed.restart({ NODE_OPTIONS: interrupted, INTERRUPTED: 'move-fill SIGKILL before' })
        await killed.process.untilReady()
        await pipeline.redis.flushall()
        await untilKilled(killed)
        await killed.restart()
        await killed.process.untilReady()
      }
      await pauseAt(paused, 'move-fill', () => pipeline.redis.flushall())
      await continueLate(paused, killed, () => untilPromised(200))
    },
  },
  {
    name: 'erasure interrupted',
    how:
      'customers are erased; projectors are killed between Redis and the tombstone; then one is paused there for ' +
      'longer than the session timeout, until the other has executed this erasure and a later one',
    inject: async (harness, scale) => {
      const { projectors, pipeline, untilPromised } = harness
      const [other, paused] = projectors as [ManagedService, ManagedService]
      await untilPromised(500)
      for (const killed of projectors.slice(0, Math.round(1 + scale))) {
        await killed.kill()
        await killed.restart({ NODE_OPTIONS: interrupted, INTERRUPTED: 'erase-customer SIGKILL' })
        // Before the projector is ready, it may execute erasures that another projector has not
        // executed.
        const { process } = killed
        await Promise.race([process.untilReady().catch(() => process.ended), process.ended])
        await eraseSome(harness)
        await untilKilled(killed)
        await killed.restart()
        await killed.process.untilReady()
      }
      const erased = await pauseAt(paused, 'erase-customer', () => eraseSome(harness))
      await continueLate(paused, other, async () => {
        await eraseAll(pipeline, erased.toReversed())
        await untilPromised(200)
      })
    },
  },
  {
    name: 'rebalance',
    how:
      'projectors join and leave; one is paused in the middle of a chunk (SIGSTOP for longer than the session ' +
      'timeout) and continues after others have got its partitions',
    options: { projectorEnv: { NODE_OPTIONS: interrupted, INTERRUPTED: 'apply-snapshots SIGSTOP' } },
    inject: async (harness, scale) => {
      const [paused, second] = harness.projectors as [ManagedService, ManagedService]
      const third = await harness.startProjector()
      const share = (services: readonly ManagedService[], each: number) =>
        waitUntil(
          `${services.length} projectors share the partitions`,
          () => Promise.all(services.map(({ process }) => process.metric('projector_assigned_partitions'))),
          (counts) => counts.every((count) => count === each),
        )
      await share([paused, second, third], 4)
      const joins = async () =>
        (await readFile(paused.process.logFile, 'utf8')).split('joined the consumer group').length
      const joinsBefore = await joins()
      armPause(paused)
      await untilPaused(paused)
      await share([second, third], 6)
      await harness.untilPromised(200 + 3000 * scale)
      paused.process.signal('SIGCONT')
      await waitUntil('the paused projector has joined its group again', joins, (count) => count > joinsBefore)
      await share([paused, second, third], 4)
      if ((await third.end()) !== 0) throw new Error('a projector that leaves must exit with 0')
    },
  },
  {
    name: 'poison',
    how: 'some records are unusable; then the quarantine topic is deleted, and created again',
    inject: async (harness) => {
      const { pipeline, projectors } = harness
      const quarantined = () => sumOver(projectors, 'projector_events_total', { outcome: 'quarantined' })
      const poison = Array.from({ length: 20 }, (_, i) => makeCustomersEvent({ timestamp: -1 - i }))
      await postAll(harness, poison)
      // The count may be higher, because an ingress may store an event twice.
      const stored = async () => {
        const found = new Set<string>()
        await readTopic(pipeline.admin, pipeline.topics.quarantine, ({ value }) => found.add(String(value)))
        return found.size
      }
      await waitUntil('the unusable records are in quarantine', stored, (count) => count === poison.length)
      await harness.readQuarantine()
      const configEntries = await changedSettings(pipeline, pipeline.topics.quarantine)
      await deleteTopic(pipeline, pipeline.topics.quarantine)
      const more = Array.from({ length: poison.length }, (_, i) => makeCustomersEvent({ timestamp: -1 - i }))
      await postAll(harness, more)
      await waitUntil(
        'a projector waits for quarantine',
        () => sumOver(projectors, 'projector_failures_total', { operation: 'quarantine' }),
        (failures) => failures > 0,
      )
      const bodies = new Set(more.map(({ body }) => body))
      const positions = await harness.positions()
      const passed: string[] = []
      await readTopic(pipeline.admin, pipeline.topics.customers, ({ value, offset }, partition) => {
        if (bodies.has(String(value)) && (positions.get(partition) ?? 0) > Number(offset))
          passed.push(`${partition}/${offset}`)
      })
      if (passed.length > 0) throw new Error(`positions have passed records that quarantine does not have: ${passed}`)
      await pipeline.administrator.createTopics({
        topics: [{ topic: pipeline.topics.quarantine, numPartitions: PARTITIONS, replicationFactor: 3, configEntries }],
        waitForLeaders: false,
      })
      await waitUntil(
        'the other unusable records are in quarantine too',
        quarantined,
        (count) => count >= 2 * poison.length,
        {
          timeoutMs: 60_000,
        },
      )
    },
  },
  {
    name: 'clock steps',
    how: 'the clocks of the services jump back and forth by an hour',
    options: { ingressEnv: { NODE_OPTIONS: jumpingClock }, projectorEnv: { NODE_OPTIONS: jumpingClock } },
    inject: async ({ ingresses, projectors, pipeline, untilPromised }, scale) => {
      await lasting(2400)
      await untilPromised(300 + 2700 * scale)
      let [earliest, latest] = [Number.POSITIVE_INFINITY, 0]
      await readTopic(pipeline.admin, pipeline.topics.customers, ({ timestamp }) => {
        earliest = Math.min(earliest, Number(timestamp))
        latest = Math.max(latest, Number(timestamp))
      })
      if (latest - earliest < 2 * HOUR_MS) throw new Error('the clock of the ingresses did not jump')
      // End the fault. All services must recover without a person.
      for (const { process } of [...ingresses, ...projectors]) process.signal('SIGCONT')
    },
  },
  {
    name: 'shutdown under load',
    how:
      'each service gets SIGTERM, the ingresses behind a load balancer: the exit code is 0, no request is refused ' +
      'or cut off; then the services start again',
    options: { ingressEnv: { SHUTDOWN_DELAY_MS: '1000' } },
    inject: async ({ ingresses, projectors, untilPromised, refused, unanswered }) => {
      for (const ingress of ingresses) {
        await replaceIngress(ingress)
        await untilPromised(100)
      }
      const { failedConnections, cutOff } = unanswered()
      if (refused() + failedConnections + cutOff > 0)
        throw new Error(
          `${refused()} requests were refused, ${cutOff} cut off, ${failedConnections} found no connection`,
        )
      for (const projector of projectors) {
        await mustEnd(projector)
        await projector.restart()
        await untilPromised(100)
      }
    },
  },
  {
    name: 'secrets rotated',
    how: 'new secrets are added to the old ones, one ingress after the other; the senders keep the old secrets',
    inject: async ({ ingresses, pipeline, post, untilPromised, statuses }) => {
      const both = {
        MYKAARMA_SIGNING_SECRETS: `new=next,old=${pipeline.secret}`,
        MYKAARMA_TOKENS: `new=next,old=${pipeline.token}`,
      }
      for (const ingress of ingresses) {
        await ingress.end()
        await ingress.restart(both)
        await ingress.process.untilReady()
        await untilPromised(100)
        const event = makeCustomersEvent()
        const answer = await post(ingress, event, {
          'mykaarma-signature-token': sign(event.body, 'next'),
          'x-authorization-token': 'next',
        })
        if (answer.status !== 202) throw new Error(`the new secret was answered with ${answer.status}`)
        await waitUntil(
          'the old secret is counted, too',
          () => ingress.process.metric('ingress_authenticated_total', { secret: 'old' }),
          (requests) => requests > 0,
        )
      }
      if (statuses()[401]) throw new Error('a sender got 401 during the rotation')
    },
  },
]
