import type { BlockedReason, Diagnosis, Program } from '../process/blocked.ts'
import type { KafkaSettings } from './client.ts'
import { type FailedRequest, failedRequestOf, failedWorkOf, hasAnswered } from './failed-request.ts'
import { TopicError } from './topic-check.ts'

/**
 * Pauses between attempts while a person must act. Logins have longer pauses, see login-patch.ts.
 */
export const BLOCKED_BACK_OFF = { initialMs: 5000, maxMs: 15_000 }

/**
 * Turns an error into its diagnosis.
 * @param doing completes "The service cannot …". Ignored if {@link attributed} has recorded a more
 *   exact text for the error.
 */
export type Diagnose = (error: unknown, doing: string) => Diagnosis

type AnyError = Error & {
  readonly type?: string
  readonly code?: unknown
  readonly broker?: string
  readonly topic?: string
  readonly cause?: unknown
  readonly errors?: readonly unknown[]
}

/** Returns the error, its causes and the errors that it contains (`AggregateError`). */
const errorsIn = (error: unknown, found: AnyError[] = []): AnyError[] => {
  if (!(error instanceof Error) || found.includes(error)) return found
  found.push(error)
  const { cause, errors } = error as AnyError
  errorsIn(cause, found)
  for (const each of errors ?? []) errorsIn(each, found)
  return found
}

interface Facts {
  readonly errors: readonly AnyError[]
  /** Kafka's name of the error. */
  readonly type?: string | undefined
  /** Node's name of the error. */
  readonly code?: string | undefined
  readonly request?: FailedRequest | undefined
  readonly broker?: string | undefined
}

const firstOf = <T>(errors: readonly AnyError[], read: (error: AnyError) => T | undefined): T | undefined => {
  for (const error of errors) {
    const value = read(error)
    if (value !== undefined) return value
  }
  return undefined
}

const factsOf = (error: unknown): Facts => {
  const errors = errorsIn(error)
  const request = firstOf(errors, failedRequestOf)
  /**
   * True if several brokers failed at the same time. The message then names all of KAFKA_BROKERS.
   */
  const haveAllFailed = error instanceof AggregateError && error.errors.length > 1
  return {
    errors,
    // Ignore topics that already exist: another topic in the same request is the one that cannot be
    // created.
    type: firstOf(errors, ({ type }) => (type === 'TOPIC_ALREADY_EXISTS' ? undefined : type)),
    code: firstOf(errors, ({ code }) => (typeof code === 'string' ? code : undefined)),
    request,
    broker: haveAllFailed ? undefined : (request?.broker ?? firstOf(errors, ({ broker }) => broker)),
  }
}

const loginTypes = new Set(['SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE'])
const certificateCodes =
  /^(SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|CERT_(UNTRUSTED|SIGNATURE|CHAIN|REJECTED|REVOKED)|INVALID_CA$|PATH_LENGTH)/
const noTlsCodes = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO'])
const tlsCodes = /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|CERT_)/
const closedInHandshake = 'before secure TLS connection was established'

/**
 * Right that each request needs. READ and WRITE of a topic and READ of a group include DESCRIBE.
 */
const rights: Readonly<Record<string, string>> = {
  Metadata: 'DESCRIBE on the topic (READ and WRITE include it)',
  ListOffsets: 'DESCRIBE on the topic (READ includes it)',
  Produce: 'WRITE on the topic',
  Fetch: 'READ on the topic',
  DescribeConfigs: 'DESCRIBE_CONFIGS on the topic',
  CreateTopics: 'CREATE on the topic or on the cluster',
  GroupCoordinator: 'READ on the group',
  JoinGroup: 'READ on the group',
  SyncGroup: 'READ on the group',
  Heartbeat: 'READ on the group',
  OffsetFetch: 'READ on the group and on the topic',
  OffsetCommit: 'READ on the group and on the topic',
  DeleteGroups: 'DELETE on the group',
}

/** Returns the request whose right includes all other rights that the work needs. */
const rightNeededTo = (doing: string, type: string): string | undefined => {
  if (doing.startsWith('write to')) return 'Produce'
  if (doing.startsWith('delete a group')) return 'DeleteGroups'
  return doing.startsWith('read topic') && type === 'TOPIC_AUTHORIZATION_FAILED' ? 'Fetch' : undefined
}

const creationHints: Readonly<Record<string, string>> = {
  POLICY_VIOLATION:
    'A policy of the brokers forbids it: create the topics by hand with KAFKA_CREATE_TOPICS=false, or ask who ' +
    'set the policy.',
  INVALID_REPLICATION_FACTOR:
    'Kafka has fewer brokers than KAFKA_REPLICATION_FACTOR: start the missing brokers, or lower the setting.',
  INVALID_PARTITIONS: 'Check KAFKA_PARTITIONS.',
  INVALID_CONFIG:
    'The brokers do not know a setting of the topic: see the supported versions of Kafka in docs/operating.md.',
  INVALID_TOPIC_EXCEPTION: 'Check KAFKA_TOPIC_PREFIX.',
}

const groupHints: Readonly<Record<string, string>> = {
  INVALID_GROUP_ID: 'Check CONSUMER_GROUP_ID.',
  INCONSISTENT_GROUP_PROTOCOL:
    'Members of another kind are in this group: give this installation a CONSUMER_GROUP_ID of its own.',
  INVALID_SESSION_TIMEOUT:
    'CONSUMER_SESSION_TIMEOUT_MS must be within group.min.session.timeout.ms and group.max.session.timeout.ms ' +
    'of the brokers.',
  GROUP_MAX_SIZE_REACHED:
    'The group has as many members as group.max.size of the brokers allows: stop some, or raise it.',
}

const outageCodes: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses connections (ECONNREFUSED)',
  ECONNRESET: 'broke the connection (ECONNRESET)',
  EPIPE: 'broke the connection (EPIPE)',
  ETIMEDOUT: 'does not answer (ETIMEDOUT)',
  EHOSTUNREACH: 'cannot be reached (EHOSTUNREACH)',
  ENETUNREACH: 'cannot be reached (ENETUNREACH)',
  EAI_AGAIN: 'has a host name that the DNS could not resolve for now (EAI_AGAIN)',
}

/** kafkajs' names of errors that mean that the broker did not answer. */
const silences = new Set(['KafkaJSConnectionError', 'KafkaJSConnectionClosedError', 'KafkaJSRequestTimeoutError'])

const mechanismOf = (settings: KafkaSettings) => settings.KAFKA_SASL_MECHANISM.toUpperCase()

const userOf = (settings: KafkaSettings): string => {
  if (settings.KAFKA_SASL_MECHANISM !== 'none')
    return `user "${settings.KAFKA_SASL_USERNAME}" (${mechanismOf(settings)})`
  return settings.KAFKA_SSL && settings.KAFKA_SSL_CERT !== undefined
    ? 'the user of KAFKA_SSL_CERT'
    : 'the anonymous user (no login)'
}

/**
 * Returns the setting to check for this address. Brokers also send their clients addresses that are
 * in none of our settings.
 */
const addressHint = (settings: KafkaSettings, broker: string | undefined): string =>
  broker === undefined || settings.KAFKA_BROKERS.includes(broker)
    ? `KAFKA_BROKERS (${settings.KAFKA_BROKERS.join(', ')})`
    : 'advertised.listeners of the brokers: this address is not from KAFKA_BROKERS'

const tlsHint = (settings: KafkaSettings, { code = '', errors, broker }: Facts): string | undefined => {
  const closing = errors.filter(({ message }) => message.includes(closedInHandshake))
  const closers = closing.flatMap((error) => error.broker ?? [])
  const closed =
    closing.length > 0 && !(closers.length > 0 ? closers : [broker]).every((each) => isKnownToAnswer(settings, each))
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return (
      'The certificate of the broker, or of its authority, is not valid at this time. Renew it, and check the ' +
      'clock of this machine.'
    )
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return (
      `The certificate of the broker names other hosts. Check ${addressHint(settings, broker)}, or issue a ` +
      'certificate with this name.'
    )
  if (certificateCodes.test(code))
    return 'The certificate of the broker is from an authority that is not trusted here. Check KAFKA_SSL_CA.'
  if (noTlsCodes.has(code)) return 'The port does not speak TLS. Check KAFKA_SSL and the port in KAFKA_BROKERS.'
  if (code.includes('ALERT'))
    return (
      'The broker refused our side of the handshake. If it demands client certificates, check KAFKA_SSL_CERT and ' +
      'KAFKA_SSL_KEY.'
    )
  if (closed)
    return (
      'The broker closed the connection during the TLS handshake. Check that the port speaks TLS (KAFKA_SSL), and ' +
      'whether it demands KAFKA_SSL_CERT and KAFKA_SSL_KEY.'
    )
  if (tlsCodes.test(code)) return 'Check KAFKA_SSL, KAFKA_SSL_CA, KAFKA_SSL_CERT and KAFKA_SSL_KEY.'
  return undefined
}

/**
 * Returns true if the broker has answered a request before. Then the settings were right, and a
 * closed connection is an outage. A proxy accepts and closes connections while the broker behind it
 * is down.
 */
const isKnownToAnswer = (settings: KafkaSettings, broker: string | undefined): boolean =>
  broker !== undefined &&
  hasAnswered({ broker, tls: settings.KAFKA_SSL, login: settings.KAFKA_SASL_MECHANISM !== 'none' })

/**
 * Finds out why a broker closed the connection without an answer. A broker does so if a client does
 * not use TLS or does not log in.
 */
const silentRefusalOf = (
  settings: KafkaSettings,
  { request, errors }: Facts,
): { reason: BlockedReason; hint: string } | undefined => {
  const closed = errors.some(({ name }) => name === 'KafkaJSConnectionClosedError')
  if (!closed || request === undefined || isKnownToAnswer(settings, request.broker)) return undefined
  if (request.api === 'ApiVersions')
    return settings.KAFKA_SSL
      ? { reason: 'tls', hint: 'If the broker demands client certificates, check KAFKA_SSL_CERT and KAFKA_SSL_KEY.' }
      : { reason: 'tls', hint: 'If the port speaks TLS, set KAFKA_SSL=true.' }
  if (request.api === 'Metadata' && settings.KAFKA_SASL_MECHANISM === 'none')
    return {
      reason: 'authentication',
      hint: 'If the port demands a login, set KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.',
    }
  return undefined
}

const loginHint = (settings: KafkaSettings, { type, errors }: Facts): string => {
  if (type === 'ILLEGAL_SASL_STATE')
    return 'The port takes no logins: check KAFKA_SASL_MECHANISM and the port in KAFKA_BROKERS.'
  if (
    type === 'UNSUPPORTED_SASL_MECHANISM' ||
    errors.some(({ message }) => message.includes('mechanism is not supported'))
  )
    return `The brokers do not offer ${mechanismOf(settings)}: check KAFKA_SASL_MECHANISM.`
  return 'Check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.'
}

/**
 * Creates the function that diagnoses errors of kafkajs. It separates outages from problems that a
 * person must fix, and names what to check.
 * @param program kind of the caller: a service keeps trying, a command ends.
 */
export const createDiagnose =
  (settings: KafkaSettings, program: Program = 'service'): Diagnose =>
  (error, fallback) => {
    const facts = factsOf(error)
    const doing = firstOf(facts.errors, failedWorkOf) ?? fallback
    const { errors, type = '', code = '', request, broker } = facts
    const kafka = `Kafka ${broker ?? settings.KAFKA_BROKERS.join(', ')}`
    const blocked = (reason: BlockedReason, message: string): Diagnosis => ({ blocked: true, reason, message })
    const keepsTrying = program === 'service'
    const retrying = keepsTrying ? 'The service keeps trying. ' : ''
    const cannot = `The ${program} cannot ${doing}`

    const topicError = errors.find((each) => each instanceof TopicError)
    if (topicError) return blocked('topic', topicError.message)

    if (loginTypes.has(type) || errors.some(({ name }) => name === 'KafkaJSSASLAuthenticationError')) {
      const last = errors.at(-1)?.message ?? ''
      return blocked(
        'authentication',
        `${kafka} refused the login of ${userOf(settings)}: ${last}. ` +
          `${cannot}${keepsTrying ? '; it logs in again at most every 60 s' : ''}. ${loginHint(settings, facts)}`,
      )
    }

    const tls = tlsHint(settings, facts)
    if (tls) return blocked('tls', `TLS to ${kafka} failed (${code || 'closed'}). ${cannot}. ${retrying}${tls}`)

    const creation = errors.find(
      (each) => each.name === 'KafkaJSCreateTopicError' && each.type !== 'TOPIC_ALREADY_EXISTS',
    )
    if (type.endsWith('_AUTHORIZATION_FAILED')) {
      const resource = creation ? `create topic ${creation.topic}` : doing
      // Kafka hides from a user without DESCRIBE whether a topic exists, so its name may be wrong.
      const otherName =
        request?.api === 'Metadata' ? ' If the topic should have another name, check KAFKA_TOPIC_PREFIX.' : ''
      const right = rights[rightNeededTo(doing, type) ?? request?.api ?? ''] ?? 'the right to do so'
      return blocked(
        'authorization',
        `${kafka} does not allow ${userOf(settings)} to ${resource} ` +
          `(${type}${request ? ` for ${request.api}` : ''}). ${retrying}Grant ${right}.${otherName}`,
      )
    }
    if (creation) {
      return blocked(
        'topic',
        (
          `${kafka} refused to create topic ${creation.topic} (${type}: ${creation.message}). ` +
          `${retrying}${creationHints[type] ?? ''}`
        ).trim(),
      )
    }
    const group = groupHints[type]
    if (group) return blocked('group', `${kafka} refused to ${doing} (${type}). ${retrying}${group}`)
    if (
      type === 'UNSUPPORTED_VERSION' ||
      errors.some(
        ({ name, message }) => name === 'KafkaJSServerDoesNotSupportApiKey' || message === 'API Versions not supported',
      )
    ) {
      return blocked(
        'version',
        `${kafka} does not know a request that the ${program} needs (${errors.at(-1)?.message}). ${cannot}. Use ` +
          'a supported version of Kafka.',
      )
    }
    if (code === 'ENOTFOUND') {
      return blocked(
        'address',
        `The host name of ${kafka} does not exist (ENOTFOUND). ${cannot}. ${retrying}Check ` +
          `${addressHint(settings, broker)}.`,
      )
    }
    const refusal = silentRefusalOf(settings, facts)
    if (refusal)
      return blocked(
        refusal.reason,
        `${kafka} closed the connection when it was asked for ${request?.api}. ${cannot}. ${retrying}${refusal.hint}`,
      )

    const outage = (message: string): Diagnosis => ({ blocked: false, reason: 'outage', message })
    const says = outageCodes[code]
    if (says)
      return outage(
        `${kafka} ${says}. ${cannot}. ${retrying}If this lasts, check that it runs, and ` +
          `${addressHint(settings, broker)}.`,
      )
    if (type === 'GROUP_COORDINATOR_NOT_AVAILABLE') {
      return outage(
        `${kafka} has no coordinator for the group. ${cannot}. ${retrying}If this lasts, the topic ` +
          '__consumer_offsets cannot be created or has no leader: compare offsets.topic.replication.factor with ' +
          'the number of brokers.',
      )
    }
    const last = errors.at(-1)?.message ?? String(error)
    // If the first request of a connection gets no answer, the port may belong to another server.
    const isSilent = request?.api === 'ApiVersions' || errors.some(({ name }) => silences.has(name))
    const hint = isSilent ? `If this lasts, check that Kafka listens there, and ${addressHint(settings, broker)}.` : ''
    return outage(`${kafka}: ${last}. ${cannot}. ${retrying}${hint}`.trim())
  }
