import type { BlockedReason, Diagnosis, Program } from '../process/blocked.ts'
import { hasExpired } from '../process/tls.ts'
import { coordinatorNeeds, creationHints, groupHints, outageCodes, rightNeededTo, rights } from './diagnosis-hints.ts'
import { type AnyError, type Facts, factsOf, firstOf } from './error-facts.ts'
import { failedWorkOf, hasAnswered } from './failed-request.ts'
import type { KafkaSettings } from './settings.ts'
import { TokenError } from './token-cache.ts'
import { TopicError } from './topic-check.ts'

/** Pauses between attempts if a person must act. No attempt can succeed earlier. */
export const BLOCKED_BACKOFF = { initialMs: 5000, maxMs: 15_000 }

/**
 * Turns an error into its diagnosis.
 * @param doing text that completes "The service cannot …". Ignored if {@link attributed} has
 *   recorded a more exact text for the error.
 */
export type Diagnose = (error: unknown, doing: string) => Diagnosis

const loginTypes = new Set(['SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE'])
const certificateCodes =
  /^(SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|CERT_(UNTRUSTED|SIGNATURE|CHAIN|REJECTED|REVOKED)|INVALID_CA$|PATH_LENGTH)/
const noTlsCodes = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO'])
const tlsCodes = /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|CERT_)/
const closedInHandshake = 'before secure TLS connection was established'

/** kafkajs' names of the errors that mean: the broker did not answer. */
const noAnswerErrors = new Set(['KafkaJSConnectionError', 'KafkaJSConnectionClosedError', 'KafkaJSRequestTimeoutError'])

const mechanismOf = (settings: KafkaSettings) => settings.KAFKA_SASL_MECHANISM.toUpperCase()

const userOf = (settings: KafkaSettings): string => {
  if (settings.KAFKA_SASL_MECHANISM === 'aws-msk-iam') return 'the AWS role of this process (AWS-MSK-IAM)'
  if (settings.KAFKA_SASL_MECHANISM === 'oauthbearer')
    return `client "${settings.KAFKA_SASL_OAUTH_CLIENT_ID}" (OAUTHBEARER)`
  if (settings.KAFKA_SASL_MECHANISM !== 'none')
    return `user "${settings.KAFKA_SASL_USERNAME}" (${mechanismOf(settings)})`
  return settings.KAFKA_SSL && settings.KAFKA_SSL_CERT !== undefined
    ? 'the user of KAFKA_SSL_CERT'
    : 'the anonymous user (no login)'
}

/**
 * Returns the setting to check for this address. A broker can send an address that is in none of
 * our settings (`advertised.listeners`).
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
      'The certificate of the broker, or of its authority, is not valid at this time. Renew the certificate, and ' +
      'check the clock of this machine.'
    )
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return (
      `The certificate of the broker names other hosts. Check ${addressHint(settings, broker)}, or issue a ` +
      'certificate with this name.'
    )
  if (certificateCodes.test(code))
    return 'The certificate of the broker is from an authority that is not trusted here. Check KAFKA_SSL_CA.'
  if (noTlsCodes.has(code)) return 'The port does not speak TLS. Check KAFKA_SSL and the port in KAFKA_BROKERS.'
  // A certificate may expire while the service runs. The broker then refuses new connections.
  if ((code.includes('ALERT') || closing.length > 0) && hasExpired('KAFKA_SSL_CERT', settings.KAFKA_SSL_CERT))
    return 'The broker refused KAFKA_SSL_CERT, which has expired. Renew KAFKA_SSL_CERT and KAFKA_SSL_KEY.'
  if (code.includes('ALERT'))
    return (
      'The broker refused our side of the handshake. If the broker demands client certificates, check KAFKA_SSL_CERT ' +
      'and KAFKA_SSL_KEY.'
    )
  if (closed)
    return (
      'The broker closed the connection during the TLS handshake. Check that the port speaks TLS (KAFKA_SSL). If the ' +
      'broker demands client certificates, check KAFKA_SSL_CERT and KAFKA_SSL_KEY.'
    )
  if (tlsCodes.test(code)) return 'Check KAFKA_SSL, KAFKA_SSL_CA, KAFKA_SSL_CERT and KAFKA_SSL_KEY.'
  return undefined
}

/**
 * Returns true if the broker has answered a request before. In this case the settings are right,
 * and a closed connection is an outage. For example, a proxy closes each connection while its
 * broker is down.
 */
const isKnownToAnswer = (settings: KafkaSettings, broker: string | undefined): boolean =>
  broker !== undefined &&
  hasAnswered({ broker, tls: settings.KAFKA_SSL, login: settings.KAFKA_SASL_MECHANISM !== 'none' })

/**
 * Returns the probable reason why a broker closed the connection without an answer. A broker closes
 * the connection of a client that does not use TLS or does not log in.
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
    return 'The port accepts no logins: check KAFKA_SASL_MECHANISM and the port in KAFKA_BROKERS.'
  if (
    type === 'UNSUPPORTED_SASL_MECHANISM' ||
    errors.some(({ message }) => message.includes('mechanism is not supported'))
  )
    return `The brokers do not offer ${mechanismOf(settings)}: check KAFKA_SASL_MECHANISM.`
  if (settings.KAFKA_SASL_MECHANISM === 'aws-msk-iam')
    return 'Check the IAM policy of this role (kafka-cluster:Connect), and KAFKA_SASL_AWS_REGION.'
  if (settings.KAFKA_SASL_MECHANISM === 'oauthbearer')
    return (
      'The brokers do not accept the token. Compare its issuer, audience and scope with the settings of the ' +
      'listener, and check KAFKA_SASL_OAUTH_TOKEN_URL and KAFKA_SASL_OAUTH_SCOPE.'
    )
  return 'Check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.'
}

/** Failure, with phrases for its messages. */
interface Failure {
  readonly settings: KafkaSettings
  readonly program: Program
  readonly facts: Facts
  /** Subject of the sentence: "Kafka", with the addresses that failed. */
  readonly kafka: string
  /** Text that completes "The service cannot …". */
  readonly doing: string
  /** "The service cannot …", without a full stop. */
  readonly cannot: string
  /** Sentence about the retries, and a space. Empty for a command, which does not retry. */
  readonly retrying: string
  readonly lastMessage: string
}
interface Problem {
  readonly reason: BlockedReason
  readonly message: string
}

const wrongTopic = ({ facts }: Failure): Problem | undefined => {
  const error = facts.errors.find((each) => each instanceof TopicError)
  return error && { reason: 'topic', message: error.message }
}

const tokenErrorOf = ({ errors }: Facts): TokenError | undefined => errors.find((each) => each instanceof TokenError)

const noToken = ({ facts, cannot, retrying }: Failure): Problem | undefined => {
  const error = tokenErrorOf(facts)
  return error?.reason === undefined
    ? undefined
    : { reason: error.reason, message: `No login to Kafka: ${error.message}. ${cannot}. ${retrying}${error.hint}` }
}

const refusedLogin = ({ settings, program, facts, kafka, cannot, lastMessage }: Failure): Problem | undefined => {
  const { errors, type = '' } = facts
  if (!loginTypes.has(type) && !errors.some(({ name }) => name === 'KafkaJSSASLAuthenticationError')) return undefined
  return {
    reason: 'authentication',
    message:
      `${kafka} refused the login of ${userOf(settings)}: ${lastMessage}. ${cannot}` +
      `${program === 'service' ? '; it logs in again after a pause of at most 60 s' : ''}. ` +
      loginHint(settings, facts),
  }
}

const failedTls = ({ settings, facts, kafka, cannot, retrying }: Failure): Problem | undefined => {
  const hint = tlsHint(settings, facts)
  return hint === undefined
    ? undefined
    : { reason: 'tls', message: `TLS to ${kafka} failed (${facts.code || 'closed'}). ${cannot}. ${retrying}${hint}` }
}

const creationErrorOf = ({ errors }: Facts): AnyError | undefined =>
  errors.find(({ name, type }) => name === 'KafkaJSCreateTopicError' && type !== 'TOPIC_ALREADY_EXISTS')

const missingRight = ({ settings, facts, kafka, doing, retrying }: Failure): Problem | undefined => {
  const { type = '', request } = facts
  if (!type.endsWith('_AUTHORIZATION_FAILED')) return undefined
  const creation = creationErrorOf(facts)
  const resource = creation ? `create topic ${creation.topic}` : doing
  // The topic's name may also be wrong. Kafka gives the same answer if the topic does not exist and
  // the user lacks DESCRIBE.
  const otherName =
    request?.api === 'Metadata' ? ' If the topic should have another name, check KAFKA_TOPIC_PREFIX.' : ''
  const right = rights[rightNeededTo(doing, type) ?? request?.api ?? ''] ?? 'the right to do so'
  return {
    reason: 'authorization',
    message:
      `${kafka} does not allow ${userOf(settings)} to ${resource} ` +
      `(${type}${request ? ` for ${request.api}` : ''}). ${retrying}Grant ${right}.${otherName}`,
  }
}

const refusedCreation = ({ facts, kafka, retrying }: Failure): Problem | undefined => {
  const { type = '' } = facts
  const creation = creationErrorOf(facts)
  if (creation === undefined) return undefined
  const message =
    `${kafka} refused to create topic ${creation.topic} (${type}: ${creation.message}). ` +
    `${retrying}${creationHints[type] ?? ''}`
  return { reason: 'topic', message: message.trim() }
}

const refusedGroup = ({ facts: { type = '' }, kafka, doing, retrying }: Failure): Problem | undefined => {
  const hint = groupHints[type]
  return hint === undefined
    ? undefined
    : { reason: 'group', message: `${kafka} refused to ${doing} (${type}). ${retrying}${hint}` }
}

const oldVersion = ({ program, facts, kafka, cannot, lastMessage }: Failure): Problem | undefined => {
  const isOld =
    facts.type === 'UNSUPPORTED_VERSION' ||
    facts.errors.some(
      ({ name, message }) => name === 'KafkaJSServerDoesNotSupportApiKey' || message === 'API Versions not supported',
    )
  if (!isOld) return undefined
  return {
    reason: 'version',
    message:
      `${kafka} does not know a request that the ${program} needs (${lastMessage}). ${cannot}. Use ` +
      'a supported version of Kafka.',
  }
}

const unknownHost = ({ settings, facts, kafka, cannot, retrying }: Failure): Problem | undefined => {
  if (facts.code !== 'ENOTFOUND') return undefined
  return {
    reason: 'address',
    message:
      `The host name of ${kafka} does not exist (ENOTFOUND). ${cannot}. ${retrying}If Kafka runs in a container, ` +
      'check that the container runs: Docker and Kubernetes remove the name of a stopped container. ' +
      `Otherwise check ${addressHint(settings, facts.broker)}.`,
  }
}

const silentRefusal = ({ settings, facts, kafka, cannot, retrying }: Failure): Problem | undefined => {
  const refusal = silentRefusalOf(settings, facts)
  if (refusal === undefined) return undefined
  const { reason, hint } = refusal
  const asked = `${kafka} closed the connection when it was asked for ${facts.request?.api}`
  return { reason, message: `${asked}. ${cannot}. ${retrying}${hint}` }
}

/** Problems that a person must fix. The first problem that fits an error is reported. */
const PROBLEMS = [
  wrongTopic,
  noToken,
  refusedLogin,
  failedTls,
  missingRight,
  refusedCreation,
  refusedGroup,
  oldVersion,
  unknownHost,
  silentRefusal,
]

/** Returns the message about an outage of Kafka. */
const outageMessageOf = ({ settings, facts, kafka, doing, cannot, retrying, lastMessage }: Failure): string => {
  const { errors, type, code = '', request, broker } = facts
  const token = tokenErrorOf(facts)
  if (token) return `No login to Kafka: ${token.message}. ${cannot}. ${retrying}${token.hint}`
  const says = outageCodes[code]
  if (says)
    return (
      `${kafka} ${says}. ${cannot}. ${retrying}If this lasts, check that Kafka runs. Also check ` +
      `${addressHint(settings, broker)}.`
    )
  if (type === 'GROUP_COORDINATOR_NOT_AVAILABLE') {
    const needs = coordinatorNeeds(doing)
    return (
      `${kafka} has no coordinator for ${needs.of}. ${cannot}. ${retrying}If this lasts, the topic ` +
      `${needs.topic} cannot be created or has no leader: compare ${needs.setting} with the number of brokers.`
    )
  }
  // ApiVersions is the first request of a connection. If a port does not answer ApiVersions, it may
  // belong to another kind of server.
  const isSilent = request?.api === 'ApiVersions' || errors.some(({ name }) => noAnswerErrors.has(name))
  const hint = isSilent
    ? `If this lasts, check that Kafka listens at this address, and ${addressHint(settings, broker)}.`
    : ''
  return `${kafka}: ${lastMessage}. ${cannot}. ${retrying}${hint}`.trim()
}

/**
 * Creates the function that diagnoses errors of kafkajs. A diagnosis is an outage, or a problem
 * that a person must fix. The diagnosis names the setting or the right to check.
 * @param program kind of the caller: a service keeps trying, a command or a request ends.
 */
export const createDiagnose =
  (settings: KafkaSettings, program: Program = 'service'): Diagnose =>
  (error, fallback) => {
    const facts = factsOf(error)
    const doing = firstOf(facts.errors, failedWorkOf) ?? fallback
    const failure: Failure = {
      settings,
      program,
      facts,
      kafka: `Kafka ${facts.broker ?? settings.KAFKA_BROKERS.join(', ')}`,
      doing,
      cannot: `The ${program} cannot ${doing}`,
      retrying: program === 'service' ? 'The service keeps trying. ' : '',
      lastMessage: facts.errors.at(-1)?.message ?? String(error),
    }
    for (const find of PROBLEMS) {
      const problem = find(failure)
      if (problem) return { blocked: true, ...problem }
    }
    return { blocked: false, reason: 'outage', message: outageMessageOf(failure) }
  }
