/** The rights of the section "Least rights" in docs/operating.md. A test compares both. */
import type { TopicNames } from '@customer-stream/schemas'
import type { ServiceName } from '@customer-stream/testing'

export type Operation = 'READ' | 'WRITE' | 'CREATE' | 'DESCRIBE' | 'DESCRIBE_CONFIGS'
/** Topics of a site, by a short name. */
export type SiteTopics = TopicNames & { readonly state: string; readonly erasures: string }
export type Resource = keyof SiteTopics | 'group' | 'transactional ids'

/** Rights of the services in Kafka. */
export const RIGHTS: Readonly<Record<ServiceName, readonly (readonly [Operation, Resource])[]>> = {
  ingress: (['customers', 'other', 'quarantine'] as const).flatMap((topic) => [
    ['WRITE', topic] as const,
    ['DESCRIBE_CONFIGS', topic] as const,
  ]),
  projector: [
    ['READ', 'customers'],
    ['DESCRIBE_CONFIGS', 'customers'],
    ['WRITE', 'quarantine'],
    ['DESCRIBE_CONFIGS', 'quarantine'],
    ['READ', 'state'],
    ['WRITE', 'state'],
    ['DESCRIBE_CONFIGS', 'state'],
    ['READ', 'erasures'],
    ['DESCRIBE_CONFIGS', 'erasures'],
    ['READ', 'group'],
    ['WRITE', 'transactional ids'],
  ],
}

/**
 * Rules of `ACL SETUSER` for the projector. It applies events even without the last six commands.
 */
export const REDIS_RULES = [
  ...['customer:*', 'erased:*', 'positions:*', 'index:*', 'drift', 'dealers', 'dealer:*'].map(
    (keys) => `~mykaarma:${keys}`,
  ),
  ...['ping', 'info', 'exists', 'eval', 'evalsha', 'hget', 'hmget', 'hset', 'hlen', 'hkeys', 'hdel', 'persist'],
  ...['set', 'del', 'zadd', 'zrem', 'zscore', 'bitfield', 'pexpire', 'zrange', 'get', 'pfadd', 'pfcount'],
].map((rule) => (rule.startsWith('~') ? rule : `+${rule}`))
