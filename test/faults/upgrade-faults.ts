import { waitUntil } from '@customer-stream/runtime'
import { PROJECTION_VERSION } from '@customer-stream/schemas'
import { servicesRoot } from '@customer-stream/testing'
import type { Fault } from './fault.ts'
import type { Release } from './harness/earlier-release.ts'
import type { FaultHarness } from './harness/fault-harness.ts'
import type { ManagedIngress, ManagedService } from './harness/managed-services.ts'
import { observeRedis, olderDocuments, splitKeys } from './harness/order.ts'
import { mustEnd, replaceIngress } from './harness/replace.ts'

/**
 * Number of events that must get 202 after each replaced process, so that two releases share the
 * load.
 */
const EVENTS_BETWEEN = 300

const replaceProjector = async (projector: ManagedService, root: string, env: Readonly<Record<string, string>>) => {
  await mustEnd(projector)
  await projector.restart(env, root)
  await projector.process.untilReady()
  await waitUntil(
    'the projector applies events of its release',
    () => projector.process.metric('projector_events_total'),
    (events) => events > 0,
    { timeoutMs: 60_000 },
  )
}

/** 503 is expected, because a busy machine may answer too late. The senders repeat these events. */
const EXPECTED_STATUSES = new Set(['200', '202', '503'])

type Step = (harness: FaultHarness) => Promise<void>

const replaceProjectors =
  (root: string, env: Readonly<Record<string, string>> = {}): Step =>
  async ({ projectors, untilPromised }) => {
    for (const projector of projectors) {
      await replaceProjector(projector, root, env)
      await untilPromised(EVENTS_BETWEEN)
    }
  }

const replaceIngresses =
  (root: string): Step =>
  async ({ ingresses, untilPromised }) => {
    for (const ingress of ingresses as readonly ManagedIngress[]) {
      await replaceIngress(ingress, root)
      await untilPromised(EVENTS_BETWEEN)
    }
  }

/**
 * Runs the steps under load. Throws if a request is cut off, or if a customer goes back to an older
 * event.
 * @param earlierRebuild steps in which customers may go back to an older event. In these steps the
 *   projectors of the earlier release fill Redis from older documents.
 */
const inOrder = async (harness: FaultHarness, steps: readonly Step[], earlierRebuild: readonly Step[] = []) => {
  const endObservation = observeRedis(harness)
  for (const step of steps) await step(harness)
  const wentBack = await endObservation()
  for (const step of earlierRebuild) await step(harness)
  const { failedConnections, cutOff } = harness.unanswered()
  const faults = [
    ...wentBack,
    ...(earlierRebuild.length > 0 ? [] : await olderDocuments(harness)),
    ...(await splitKeys(harness, harness.pipeline.topics.customers)),
    ...(await splitKeys(harness, harness.pipeline.stateTopic)),
    ...Object.entries({ failedConnections, cutOff }).flatMap(([what, count]) =>
      count > 0 ? [`requests of the senders: ${count} ${what}`] : [],
    ),
    ...Object.entries(harness.statuses()).flatMap(([status, count]) =>
      EXPECTED_STATUSES.has(status) ? [] : [`requests of the senders: ${count} answered with ${status}`],
    ),
  ]
  if (faults.length > 0) throw new Error(`${faults.length} problems:\n${faults.slice(0, 20).join('\n')}`)
}

/**
 * Upgrades from a release to this code, in the order of docs/upgrading.md.
 * @param root folder with the code of the release.
 */
export const upgradeFaults = ({ name, hasStateTopic, hasIndexes }: Release, root: string): readonly Fault[] => {
  const options = { root, ratePerSecond: 100, ingressEnv: { SHUTDOWN_DELAY_MS: '2000' } }
  // If customers of the earlier release have no entries in indexes, indexes need a new projection.
  const env = hasIndexes ? {} : { INDEXES: 'none' }
  const forward = [replaceProjectors(servicesRoot, env), replaceIngresses(servicesRoot)]
  const back = [replaceIngresses(root), replaceProjectors(root)]
  const [second, third] = [PROJECTION_VERSION + 1, PROJECTION_VERSION + 2]
  return [
    {
      name: `upgrade from ${name}, rolled back`,
      how:
        'one process after another is upgraded, first the projectors; then all are rolled back in the opposite ' +
        'order',
      options,
      // The earlier release does not publish documents, so the topic is out of date.
      ignoresStateTopic: !hasStateTopic,
      inject: (harness) => inOrder(harness, [...forward, ...back]),
    },
    {
      name: `upgrade from ${name}, repeated`,
      how: 'all processes are upgraded, rolled back, and upgraded again',
      options,
      inject: (harness) => inOrder(harness, [...forward, ...back, ...forward]),
    },
    {
      name: `upgrade from ${name}, new projection`,
      how: 'projectors are upgraded with PROJECTION_VERSION + 1, then rolled back with PROJECTION_VERSION + 2',
      options: { ...options, projection: third },
      ignoresStateTopic: !hasStateTopic,
      inject: (harness) =>
        inOrder(
          harness,
          [replaceProjectors(servicesRoot, { PROJECTION_VERSION: String(second) })],
          [replaceProjectors(root, { PROJECTION_VERSION: String(third) })],
        ),
    },
  ]
}
