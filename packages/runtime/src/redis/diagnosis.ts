import type { BlockedReason, Diagnosis, Program } from '../process/blocked.ts'
import { hasExpired } from '../process/tls.ts'
import { addressesOf } from './address.ts'
import { causeOf, type RedisClient } from './client.ts'
import { primaryOf } from './sentinel.ts'
import type { RedisSettings } from './settings.ts'

interface Row {
  readonly pattern: RegExp
  /** Reason for which a person must act. Undefined for an outage. */
  readonly reason?: BlockedReason
  readonly happened: string
  readonly hint: string
}

const CHECK_SENTINEL =
  'A failover solves this problem. If the problem lasts, ask a Sentinel for the address of the primary (SENTINEL ' +
  'GET-MASTER-ADDR-BY-NAME), and compare it with the address of Redis. In containers set sentinel announce-ip and ' +
  'replica-announce-ip.'

/** Known problems. The first row whose pattern matches the error's code and message is used. */
const rows: readonly Row[] = [
  {
    pattern: /no Sentinel names.*(WRONGPASS|NOAUTH|NOPERM|without any password)/s,
    reason: 'authentication',
    happened: 'has Sentinels that refuse the login',
    hint: 'Check REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD.',
  },
  {
    pattern: /no Sentinel names.*knows no primary/s,
    reason: 'address',
    happened: 'has Sentinels that do not know its name',
    hint: 'Check REDIS_SENTINELS and REDIS_URL. The host in REDIS_URL is the name of the primary.',
  },
  {
    pattern: /no Sentinel names/,
    happened: 'has Sentinels that do not answer',
    hint: 'If this lasts, check REDIS_SENTINELS, and that the Sentinels run.',
  },
  {
    pattern: /Sentinel names/,
    happened: 'has a primary that cannot be reached',
    hint: CHECK_SENTINEL,
  },
  {
    pattern: /WRONGPASS|NOAUTH|invalid password|invalid username|without any password|without a password/i,
    reason: 'authentication',
    happened: 'refuses the login',
    hint: 'Check the user and the password in REDIS_URL.',
  },
  {
    pattern: /DB index|SELECT is not allowed|'select' command/i,
    reason: 'redis',
    happened: 'does not let the user select the database',
    hint: 'Check the database number at the end of REDIS_URL, and the right to call SELECT.',
  },
  {
    pattern: /NOPERM|no permissions?\b|can't run this command|can't access at least one of the keys/i,
    reason: 'authorization',
    happened: 'does not allow its user a command or a key',
    hint:
      'Grant the user the commands and the keys that docs/operating.md names. The keys begin with REDIS_KEY_PREFIX: ' +
      'customer:*, erased:*, positions:*, index:*, dealers, dealer:* and drift.',
  },
  {
    pattern: /WRONGTYPE/,
    reason: 'redis',
    happened: 'has a key of another application in place of the positions (positions:* after REDIS_KEY_PREFIX)',
    hint: 'Delete or rename that key, or use another REDIS_KEY_PREFIX.',
  },
  {
    pattern: /ENOTFOUND/,
    reason: 'address',
    happened: 'has a host name that does not exist',
    hint:
      'If Redis runs in a container, check that the container runs: Docker and Kubernetes remove the name of a ' +
      'stopped container. Otherwise check REDIS_URL.',
  },
  {
    pattern: /CERT_HAS_EXPIRED|CERT_NOT_YET_VALID/,
    reason: 'tls',
    happened: 'has a certificate that is not valid at this time',
    hint: 'Renew the certificate of the server, or of its authority, and check the clock of this machine.',
  },
  {
    pattern: /ALERT_CERTIFICATE_EXPIRED|alert certificate expired/,
    reason: 'tls',
    happened: 'refuses the client certificate, which has expired',
    hint: 'Renew REDIS_TLS_CERT and REDIS_TLS_KEY.',
  },
  {
    pattern: /ERR_TLS_CERT_ALTNAME_INVALID/,
    reason: 'tls',
    happened: 'has a certificate that names other hosts',
    hint: 'Check the host in REDIS_URL, or issue a certificate with this name.',
  },
  {
    pattern: /SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|CERT_(UNTRUSTED|SIGNATURE|CHAIN|REJECTED|REVOKED)|INVALID_CA/,
    reason: 'tls',
    happened: 'has a certificate from an authority that is not trusted here',
    hint: 'Check REDIS_TLS_CA.',
  },
  {
    pattern: /CERT|ERR_SSL|ERR_TLS|EPROTO|secure TLS connection/,
    reason: 'tls',
    happened: 'and its client do not agree on TLS',
    hint:
      'Check whether REDIS_URL must begin with rediss: (TLS) or with redis: (plain text). Also check REDIS_TLS_CA, ' +
      'REDIS_TLS_CERT and REDIS_TLS_KEY.',
  },
  {
    pattern: /READONLY/,
    happened: 'is a replica and accepts no writes',
    hint: 'If this lasts, set REDIS_URL to the address of the primary.',
  },
  { pattern: /OOM/, happened: 'has no memory left', hint: 'Raise maxmemory of Redis.' },
  {
    pattern: /MISCONF/,
    happened: 'accepts no writes because it cannot save its data',
    hint: 'Look at the disk and the log of Redis.',
  },
  {
    pattern: /max number of clients/,
    happened: 'accepts no more connections',
    hint: 'Raise maxclients of Redis, or close other clients.',
  },
  {
    // Kafka and some other servers close the connection without a reset. ioredis then reports no
    // reason, only "Connection is closed".
    pattern: /ECONNRESET|EPIPE|Connection is closed/,
    happened: 'closes the connection',
    hint:
      'If this lasts, check that REDIS_URL names a Redis, not another server, and that Redis has fewer clients than ' +
      'its maxclients. If REDIS_URL begins with rediss:, Redis may demand a certificate. Check REDIS_TLS_CERT and ' +
      'REDIS_TLS_KEY.',
  },
  {
    pattern: /connect (ENOENT|EACCES)/,
    happened: 'has no socket that this process may open',
    hint: 'If this lasts, check the path in REDIS_URL and the rights on the socket, and that Redis runs.',
  },
  {
    pattern: /Unknown RESP type/,
    happened: 'answers, but is not a Redis',
    hint: 'Check the host and the port in REDIS_URL.',
  },
  { pattern: /LOADING/, happened: 'is loading its data', hint: '' },
  {
    pattern: /ECONNREFUSED/,
    happened: 'refuses connections',
    hint: 'If this lasts, check REDIS_URL, and that Redis runs.',
  },
]

/**
 * Problem if Redis closes a connection and the client certificate has expired. In TLS 1.3 the
 * client may write before Redis has checked the certificate. In this case the client gets only
 * ECONNRESET.
 */
const expiredRow: Row = {
  pattern: /ECONNRESET|EPIPE|Connection is closed/,
  reason: 'tls',
  happened: 'closes the connection, probably because of the client certificate, which has expired',
  hint: 'Renew REDIS_TLS_CERT and REDIS_TLS_KEY.',
}

/** Returns the URL without user and password. */
const placesOf = (settings: RedisSettings): string => {
  const places = addressesOf(settings).map(({ tls, host, port, path, database }) => {
    const ipv6 = host.includes(':') ? `[${host}]` : host
    const at = settings.REDIS_SENTINELS.length > 0 ? host : `${ipv6}:${port}`
    const place = path === undefined ? `${tls ? 'rediss' : 'redis'}://${at}` : `unix://${path}`
    return database === 0 ? place : `${place}/${database}`
  })
  return places.join(', ')
}

/**
 * Returns a phrase with the refused command and its first key. ioredis stores the command in the
 * error.
 */
const callOf = (error: Error, { REDIS_KEY_PREFIX }: RedisSettings): string | undefined => {
  const { command } = error as Error & {
    readonly command?: { readonly name: string; readonly args: readonly unknown[] }
  }
  const key = command?.args.map(String).find((arg) => arg.startsWith(REDIS_KEY_PREFIX))
  return (
    command && `does not allow its user to call ${command.name.toUpperCase()}${key === undefined ? '' : ` on ${key}`}`
  )
}

/**
 * Creates the function that diagnoses errors of Redis. A diagnosis is an outage, or a problem that
 * a person must fix. The diagnosis names the setting or the right to check.
 * @param program kind of the caller: a service keeps trying, a command ends.
 */
export const createRedisDiagnose =
  (settings: RedisSettings, client: RedisClient, program: Program = 'service') =>
  (error: Error): Diagnosis => {
    const cause = causeOf(client)(error)
    const text = `${(cause as Error & { readonly code?: string }).code ?? ''} ${cause.message}`
    const isExpired = expiredRow.pattern.test(text) && hasExpired('REDIS_TLS_CERT', settings.REDIS_TLS_CERT)
    const row = isExpired ? expiredRow : rows.find(({ pattern }) => pattern.test(text))
    // The address of the primary comes from the Sentinels, so REDIS_URL is not the cause of the
    // problem.
    const primary = /Sentinel/.test(text) ? undefined : primaryOf(client)
    const redis = `Redis ${placesOf(settings)}${primary === undefined ? '' : `, at ${primary},`}`
    const retrying = program === 'service' ? 'No event is skipped; the service keeps trying. ' : ''
    if (!row)
      return {
        blocked: false,
        reason: 'outage',
        message:
          `${redis} does not answer: ${cause.message.replace(/\.$/, '')}. ${retrying}` +
          (primary === undefined ? 'If this lasts, check REDIS_URL.' : CHECK_SENTINEL),
      }
    const { reason } = row
    const isAddressed = primary !== undefined && reason === undefined && row.hint.includes('REDIS_URL')
    const hint = isAddressed ? CHECK_SENTINEL : row.hint
    const happened = (program === 'command' && reason === 'authorization' && callOf(cause, settings)) || row.happened
    const detail = cause.message.replace('. Please report this.', '').trim().replace(/\.$/, '')
    const message = `${redis} ${happened} (${detail}). ${retrying}${hint}`.trim()
    return reason === undefined ? { blocked: false, reason: 'outage', message } : { blocked: true, reason, message }
  }
