/** Describes the problems of services, topics and positions in sentences. Pure functions. */
import { HELD_MS, motionOf, type Observation, type TopicStatus } from './read-status.ts'
import type { ServiceStatus } from './service-probe.ts'

const inWords = (partitions: readonly number[]): string =>
  `partition${partitions.length === 1 ? '' : 's'} ${partitions.join(', ')}`

/**
 * Returns the problems of the positions in Redis, as sentences.
 * @param noPositions the sentence about a Redis without positions.
 */
export const progressReasons = (observation: Observation, noPositions: string): string[] => {
  const { first, last } = observation
  if (last.progress === undefined) return [noPositions]
  const reasons: string[] = []
  const addReason = (partitions: readonly number[], sentence: (names: string) => string) => {
    if (partitions.length > 0) reasons.push(sentence(inWords(partitions)))
  }
  const where = (isWrong: (i: number) => boolean) =>
    last.partitions.flatMap(({ partition }, i) => (isWrong(i) ? [partition] : []))
  const seconds = ((last.at - first.at) / 1000).toFixed(0)
  const positions = last.progress.map(({ position }) => position)
  addReason(
    where((i) => motionOf(observation, i) === 'still'),
    (names) =>
      `${names} of the raw topic: records wait, and no position has moved for ${seconds} s. Read /readyz and the log ` +
      'of the projectors.',
  )
  addReason(
    where((i) => positions[i] === undefined && last.partitions[i]?.low !== last.partitions[i]?.stable),
    (names) => `${names} of the raw topic: Redis has no position, so no projector has begun. Check the projectors.`,
  )
  const isGone = (i: number) => positions[i] !== undefined && positions[i]! < BigInt(last.partitions[i]?.low ?? '0')
  addReason(
    where(isGone),
    (names) =>
      `${names} of the raw topic: Kafka has deleted records before they were applied. Raise the retention; the next ` +
      'event of each customer repairs its hash.',
  )
  addReason(
    where((i) => positions[i] !== undefined && positions[i]! > BigInt(last.partitions[i]?.high ?? '0')),
    (names) =>
      `${names} of the raw topic: the position in Redis is greater than the end of the partition. Check ` +
      'KAFKA_BROKERS and REDIS_URL, and read /readyz of the projectors.',
  )
  const held = (i: number) => {
    const [before, now] = [first.partitions[i], last.partitions[i]]
    const isSame = before !== undefined && now !== undefined && before.stable === now.stable
    return isSame && now.stable !== now.high && last.at - first.at >= HELD_MS
  }
  addReason(
    where(held),
    (names) => `${names} of the raw topic: an open transaction of another producer holds records back.`,
  )
  return reasons
}

export const serviceReasons = ({ kind, url, state, problems }: ServiceStatus): string[] => {
  if (state === 'ready') return []
  const words =
    state === 'not-ready' ? `is not ready: ${problems.join('; ') || 'no reason given'}` : problems.join('; ')
  return [`${kind} ${url} ${words}`]
}

export const topicReasons = (topic: TopicStatus | undefined, partitions: number | undefined): string[] => {
  if (topic === undefined) return []
  const found = topic.partitions.length + topic.leaderless.length
  return [
    ...(topic.leaderless.length > 0
      ? [`${inWords(topic.leaderless)} of ${topic.topic}: no leader answers. Bring the broker back.`]
      : []),
    ...(partitions !== undefined && found !== partitions
      ? [`${topic.topic} has ${found} partitions, and the raw topic has ${partitions}. Both need the same number.`]
      : []),
  ]
}
