import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { erasuresTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import { describe, expect, it } from 'vitest'
import { REDIS_RULES, RIGHTS } from '../standstill/rights.ts'
import { read, root } from './deployment-files.ts'

/** Names of the other resources in docs/operating.md, and their option of `kafka-acls.sh`. */
const OTHER_RESOURCES = {
  'the consumer group': '--group customer-stream-projector',
  'transactional ids that begin with the name of the group':
    '--transactional-id customer-stream-projector --resource-pattern-type prefixed',
}

/** Returns the resources in options of `kafka-acls.sh`, and in a list `$(topics …)`. */
const resourcesIn = (options: string): readonly string[] => [
  ...[...options.matchAll(/--topic mykaarma\.(\S+)/g)].map(([, topic = '']) => topic),
  ...(/\$\(topics (.+)\)/.exec(options)?.[1]?.split(' ') ?? []),
  ...Object.entries(OTHER_RESOURCES).flatMap(([name, option]) => (options.includes(option) ? [name] : [])),
]

/** Returns Kafka's name of an operation, e.g. `DESCRIBE_CONFIGS` for `DescribeConfigs`. */
const operationOf = (text: string) => text.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()

describe('deploy/compose.production.yml', () => {
  /** Returns the rights in a row of docs/operating.md, as `OPERATION resource`. */
  const documentedRights = (row: string): string[] => [
    ...Object.keys(OTHER_RESOURCES).flatMap((name) =>
      [...row.matchAll(new RegExp(`${name}: ([A-Z_]+)`, 'g'))].map(([, operation]) => `${operation} ${name}`),
    ),
    ...[...row.matchAll(/topics? ((?:`[\w.]+`(?:, )?)+): ([A-Z_, ]+)|(?<=; )(`[\w.]+`): ([A-Z_, ]+)/g)].flatMap(
      ([, names, operations, name, ofName]) =>
        [...(names ?? name ?? '').matchAll(/[\w.]+/g)].flatMap(([topic]) =>
          [...(operations ?? ofName ?? '').matchAll(/[A-Z_]+/g)].map(([operation]) => `${operation} ${topic}`),
        ),
    ),
  ]
  /** Returns the rights that kafka-users.sh gives to a user. */
  const grantedRights = (user: string): Set<string> => {
    const script = read('deploy/compose/kafka-users.sh').replaceAll('\\\n', '')
    return new Set(
      [...script.matchAll(new RegExp(`^allow ${user} (\\S+) +(.+)$`, 'gm'))].flatMap(
        ([, operations = '', options = '']) =>
          operations
            .split(',')
            .flatMap((operation) => resourcesIn(options).map((resource) => `${operationOf(operation)} ${resource}`)),
      ),
    )
  }
  const rightsRows = read('docs/operating.md')
    .split('\n## Least rights')[1]!
    .split('\n## ')[0]!
    .split('\n')
    .filter((line) => /^\| .*topics? `/.test(line))

  const USERS = ['ingress', 'projector', 'reader']
  it.each(USERS)('the user %s has the rights in Kafka that docs/operating.md names', (user) => {
    const row = rightsRows.find((line) => line.startsWith(`| ${user} |`)) ?? ''
    expect([...grantedRights(user)].toSorted()).toEqual([...new Set(documentedRights(row))].toSorted())
  })

  it.each(['ingress', 'projector'] as const)(
    'the standstill tests give the user %s exactly the documented rights',
    (user) => {
      const row = rightsRows.find((line) => line.startsWith(`| ${user} |`)) ?? ''
      const names = { ...topicNames(''), state: stateTopicName(''), erasures: erasuresTopicName('') }
      const [group, transactionalIds] = Object.keys(OTHER_RESOURCES)
      const nameOf = { ...names, group, 'transactional ids': transactionalIds }
      const rights = RIGHTS[user].map(([operation, resource]) => `${operation} ${nameOf[resource]}`)
      expect(rights.toSorted()).toEqual([...new Set(documentedRights(row))].toSorted())
    },
  )

  const [basicCommands = '', redriveCommands = ''] = read('docs/operating.md')
    .split('\n## Least rights')[1]!
    .split('\n## ')[0]!
    .split('*for redrives* only')
  /** Returns the rights that commands of docs/operating.md grant to a user. */
  const commandRights = (section: string, user: string): readonly string[] => {
    const granted = [...section.replaceAll('\\\n', '').matchAll(/^allow --allow-principal User:(\w+) (.+)$/gm)]
      .filter(([, name]) => name === user)
      .flatMap(([, , options = '']) => {
        const operations = [...options.matchAll(/--operation (\S+)/g)].map(([, operation = '']) =>
          operationOf(operation),
        )
        return operations.flatMap((operation) => resourcesIn(options).map((resource) => `${operation} ${resource}`))
      })
    return [...new Set(granted)].toSorted()
  }
  it.each(USERS)(
    'the commands of docs/operating.md grant the user %s the rights that kafka-users.sh grants',
    (user) => {
      expect(commandRights(basicCommands, user)).toEqual([...grantedRights(user)].toSorted())
    },
  )

  it('the commands of docs/operating.md for redrives grant the reader exactly the documented rights', () => {
    const row = rightsRows.find((line) => line.startsWith('| reader, for redrives |')) ?? ''
    const rights = commandRights(redriveCommands, 'reader')
    expect(rights.length).toBeGreaterThan(0)
    expect(rights).toEqual(documentedRights(row).toSorted())
    expect(rights.filter((right) => grantedRights('reader').has(right))).toEqual([])
  })

  it('the Kafka user of the commands has the rights of each command, except redrive', () => {
    const granted = grantedRights('operator')
    const rows = rightsRows.flatMap((line) => {
      const [, command] = /^\| `(.+?)` \|/.exec(line) ?? []
      return command === undefined ? [] : [{ command, rights: documentedRights(line) }]
    })
    expect(rows.length).toBeGreaterThan(10)
    const lacking = rows.flatMap(({ command, rights }) =>
      rights
        // The right to read includes the right to describe.
        .filter((right) => !granted.has(right) && !granted.has(right.replace(/^DESCRIBE /, 'READ ')))
        .map((right) => `${command}: ${right}`),
    )
    expect(lacking).toEqual(['customers.raw', 'other.raw'].map((name) => `quarantine redrive --execute: WRITE ${name}`))
    const needed = new Set(rows.flatMap(({ rights }) => rights))
    expect([...granted].filter((right) => !needed.has(right))).toEqual([])
  })

  const rightsIn = (text: string, before: string) =>
    [...(text.split(before)[1]?.split(/```|\nuser /)[0] ?? '').matchAll(/(?<=\s)[+~][\w:*|]+/g)].map(([right]) => right)

  it('the standstill tests give the projector exactly the rights in Redis that docs/operating.md lists', () => {
    const documented = rightsIn(read('docs/operating.md'), 'ACL SETUSER projector on ')
    expect(REDIS_RULES.toSorted()).toEqual(documented.toSorted())
  })

  it.each(['projector', 'reader'])('the Redis user %s has the rights that docs/operating.md lists', (user) => {
    const script = read('deploy/compose/make-secrets.sh')
    const [, keys = ''] = /^KEYS='(.+)'$/m.exec(script) ?? []
    const documented = rightsIn(read('docs/operating.md'), `ACL SETUSER ${user} on `)
    expect(documented.length).toBeGreaterThan(8)
    expect(rightsIn(script.replaceAll('$KEYS', keys), `user ${user} on`)).toEqual(documented)
  })

  it('the Redis user operator has the rights of each command that docs/operating.md lists, and no other', () => {
    const operating = read('docs/operating.md')
    const rows = [...operating.matchAll(/^\| `([a-z-]+(?: [a-z-]+)*)` \|.*\|(.*\+ping.*)\|$/gm)]
    expect(rows.length).toBeGreaterThan(9)
    const commandsIn = (text: string) => new Set([...text.matchAll(/\+[a-z|]+/g)].map(([right]) => right))
    const repair = /\| `verify --repair --execute` \|.*/.exec(operating)?.[0] ?? ''
    const needed = commandsIn(rows.map(([, , rights]) => rights).join() + repair)
    const [, granted = ''] = /^user operator on (.+)$/m.exec(read('deploy/compose/make-secrets.sh')) ?? []
    expect([...commandsIn(granted)].sort()).toEqual([...needed].sort())
  })

  it('the Redis user projector has the right to each command in the Lua scripts', () => {
    const granted = rightsIn(read('docs/operating.md'), 'ACL SETUSER projector on ')
    const folder = 'services/projector/src/lua'
    const scripts = readdirSync(join(root, folder)).map((name) => read(`${folder}/${name}`))
    const called = scripts.flatMap((text) =>
      [...text.matchAll(/redis\.p?call\('([A-Z]+)'/g)].map(([, name = '']) => name),
    )
    expect(called.length).toBeGreaterThan(20)
    expect(called.filter((name) => !granted.includes(`+${name.toLowerCase()}`))).toEqual([])
  })

  it('the Redis user default may not log in, but has all rights, because Redis may load its file as this user', () => {
    const line = /^user default .*$/m.exec(read('deploy/compose/make-secrets.sh'))?.[0]
    expect(line).toBe('user default off ~* &* +@all')
  })
})
