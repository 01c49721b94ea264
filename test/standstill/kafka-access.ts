import type { Scenario } from './scenario.ts'
import type { Operation, Resource, Site } from './site.ts'

type Service = 'ingress' | 'projector'

/** A right that is missing from the start, and one that is taken away while the pipeline runs. */
const right = (service: Service, operation: Operation, resource: Resource, name: string): Scenario => ({
  name,
  break: (site) => site.revoke(service, operation, resource),
  signs: [
    { of: service, says: [resource === 'group' ? /s[0-9a-f]{8}-projector/ : namedTopic(resource), new RegExp(`\\b${operation}\\b`)] },
  ],
  repair: (site) => site.grant(service, operation, resource),
})

const namedTopic = (topic: Exclude<Resource, 'group'>): RegExp =>
  ({ customers: /customers\.raw/, other: /other\.raw/, quarantine: /quarantine/ })[topic]

const wrong = (service: Service, env: (site: Site) => Record<string, string>, says: readonly RegExp[], name: string): Scenario => {
  let rightEnv: Record<string, string> = {}
  return {
    name,
    atStart: true,
    break: async (site) => {
      const changes = env(site)
      rightEnv = Object.fromEntries(Object.keys(changes).map((setting) => [setting, site.envOf(service)[setting] ?? '']))
      site[service].configure(changes)
    },
    signs: [{ of: service, says }],
    // The setting is corrected, so the process must be started anew.
    repair: async (site) => {
      await site[service].stop()
      site[service].configure(rightEnv)
      await site[service].start()
    },
  }
}

export const kafkaAccess: readonly Scenario[] = [
  right('projector', 'READ', 'group', 'a projector without READ on its group'),
  { ...right('projector', 'READ', 'group', 'a projector that starts without READ on its group'), atStart: true },
  right('projector', 'READ', 'customers', 'a projector without READ on the customers topic'),
  { ...right('ingress', 'WRITE', 'customers', 'an ingress that starts without WRITE on the customers topic'), atStart: true },
  right('ingress', 'WRITE', 'customers', 'an ingress without WRITE on the customers topic'),
  wrong('ingress', () => ({ KAFKA_SASL_PASSWORD: 'wrong' }), [/KAFKA_SASL_PASSWORD/], 'an ingress with a wrong password'),
]
