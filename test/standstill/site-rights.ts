import { grantRights, type ServiceName } from '@customer-stream/testing'
import { type Operation, type Resource, RIGHTS, type SiteTopics } from './rights.ts'
import type { SharedBrokers } from './shared-brokers.ts'

/** Codes of operations in Kafka's protocol. */
const OPERATIONS: Readonly<Record<Operation, number>> = {
  READ: 3,
  WRITE: 4,
  CREATE: 5,
  DESCRIBE: 8,
  DESCRIBE_CONFIGS: 10,
}
const TOPIC = 2
const GROUP = 3
const TRANSACTIONAL_ID = 5
const LITERAL = 3
const PREFIXED = 4
const ALLOW = 3

export interface SiteRights {
  grant(service: ServiceName, operation: Operation, resource: Resource): Promise<void>
  revoke(service: ServiceName, operation: Operation, resource: Resource): Promise<void>
  /** Grants all rights of a service to another user. */
  grantAll(service: ServiceName, user: string): Promise<void>
  /** Revokes all rights of the service's own user. */
  revokeAll(service: ServiceName): Promise<void>
}

export const createRights = (
  { administrator }: SharedBrokers,
  {
    topics,
    group,
    userOf,
  }: {
    readonly topics: SiteTopics
    readonly group: string
    readonly userOf: (service: ServiceName) => string
  },
): SiteRights => {
  const patternOf = (resource: Resource) => {
    if (resource === 'group') return { resourceType: GROUP, resourceName: group, resourcePatternType: LITERAL }
    if (resource === 'transactional ids')
      return { resourceType: TRANSACTIONAL_ID, resourceName: group, resourcePatternType: PREFIXED }
    return { resourceType: TOPIC, resourceName: topics[resource], resourcePatternType: LITERAL }
  }
  const acl = (user: string, operation: Operation, resource: Resource) => ({
    ...patternOf(resource),
    principal: `User:${user}`,
    host: '*',
    operation: OPERATIONS[operation],
    permissionType: ALLOW,
  })
  return {
    grant: async (service, operation, resource) => {
      await grantRights(administrator, [acl(userOf(service), operation, resource)])
    },
    revoke: async (service, operation, resource) => {
      await administrator.deleteAcls({ filters: [acl(userOf(service), operation, resource)] })
    },
    grantAll: async (service, user) => {
      await grantRights(
        administrator,
        RIGHTS[service].map((right) => acl(user, ...right)),
      )
    },
    revokeAll: async (service) => {
      await administrator.deleteAcls({ filters: RIGHTS[service].map((right) => acl(userOf(service), ...right)) })
    },
  }
}
