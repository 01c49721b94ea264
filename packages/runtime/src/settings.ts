/**
 * Settings of a process: each is a TypeBox schema with a description, read from one environment variable. All faults are found at once, a misspelt name
 * included, and docs/configuration.md is generated from the same schemas.
 */
import { readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { type StaticDecode, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { distance } from 'fastest-levenshtein'

interface Described {
  readonly description: string
}
/** A setting without a default must be given; one with `optional` may be missing and is then undefined. */
interface Defaulted<T> extends Described {
  readonly default?: T
}

/** Marks a value that must not be shown; it may be read from the file that NAME_FILE names. */
const secret = { secret: true } as const

/** What the generated documentation calls the values of this setting. */
type Shown = { readonly shown: string }

export const text = (options: Defaulted<string> & { pattern?: string }) => Type.String({ minLength: 1, shown: 'text', ...options })

export const optionalText = (options: Described) => Type.Optional(Type.String({ minLength: 1, shown: 'text', ...options }))

export const optionalSecret = (options: Described) => Type.Optional(Type.String({ minLength: 1, shown: 'text', ...secret, ...options }))

export const integer = (options: Defaulted<number> & { minimum: number; maximum: number }) =>
  Type.Integer({ shown: `integer, ${options.minimum} to ${options.maximum}`, ...options })

export const flag = (options: Described & { default: boolean }) => Type.Boolean({ shown: '`true` or `false`', ...options })

export const choice = <const T extends readonly string[]>(values: T, options: Defaulted<T[number]>) =>
  Type.Union(
    values.map((value) => Type.Literal(value)),
    { shown: values.map((value) => `\`${value}\``).join(', '), ...options },
  ) as unknown as ReturnType<typeof Type.Unsafe<T[number]>>

const split = (value: string): string[] =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')

/** `a,b,c` */
export const list = (options: Defaulted<string>) =>
  Type.Transform(Type.String({ minLength: 1, shown: 'comma-separated list', ...options }))
    .Decode((value): readonly string[] => split(value))
    .Encode((value) => value.join(','))

/** `name=value,name=value`: several secrets at once, so that one can be rotated without a gap. The names show up in metrics, the values never. */
export const namedSecrets = (options: Described) =>
  Type.Transform(Type.String({ shown: '`name=value`, comma-separated', default: '', ...secret, ...options }))
    .Decode((value): ReadonlyMap<string, string> => {
      const named = new Map<string, string>()
      for (const [i, item] of split(value).entries()) {
        const [, name, content] = /^([A-Za-z0-9_.-]+)=(.+)$/s.exec(item) ?? []
        // Says which entry, never what it holds.
        if (name === undefined || content === undefined) throw new Error(`entry ${i + 1} is not of the form name=value`)
        if (named.has(name)) throw new Error(`the name ${name} is given twice`)
        named.set(name, content)
      }
      return named
    })
    .Encode((value) => [...value].map((pair) => pair.join('=')).join(','))

/** Addresses and CIDR ranges, `10.0.0.0/8,2001:db8::1`; undefined when none is given. */
export const addresses = (options: Described) =>
  Type.Transform(Type.String({ shown: 'addresses or CIDR ranges, comma-separated', default: '', ...options }))
    .Decode((value): { readonly ranges: readonly string[]; includes(address: string): boolean } | undefined => {
      const ranges = split(value)
      if (ranges.length === 0) return undefined
      const known = new BlockList()
      for (const range of ranges) {
        const [address = '', prefix, ...rest] = range.split('/')
        const family = isIP(address)
        const bits = prefix === undefined ? (family === 6 ? 128 : 32) : Number(prefix)
        if (family === 0 || rest.length > 0 || prefix === '' || !Number.isInteger(bits) || bits < 0 || bits > (family === 6 ? 128 : 32)) {
          throw new Error(`${range} is neither an address nor a CIDR range`)
        }
        known.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4')
      }
      // BlockList looks through IPv4-mapped IPv6 addresses (::ffff:10.0.0.1) by itself.
      return { ranges, includes: (address) => isIP(address) !== 0 && known.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4') }
    })
    .Encode((value) => value?.ranges.join(',') ?? '')

export type Settings = Readonly<Record<string, TSchema>>
export type Loaded<S extends Settings> = { readonly [Name in keyof S]: StaticDecode<S[Name]> }

/** Every fault of the environment, one line each. */
export class SettingsError extends Error {
  constructor(faults: readonly string[]) {
    super(
      `${faults.length === 1 ? 'One setting is wrong' : `${faults.length} settings are wrong`}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    )
    this.name = 'SettingsError'
  }
}

const convert = (schema: TSchema, value: string): unknown => {
  if (schema.type === 'integer') return /^-?\d+$/.test(value) ? Number(value) : value
  if (schema.type === 'boolean') return value === 'true' ? true : value === 'false' ? false : value
  return value
}

const decode = (schema: TSchema, value: string): unknown => {
  const converted = convert(schema, value)
  const fault = Value.Errors(schema, converted).First()
  if (fault) {
    const shown = schema.secret ? 'the value' : JSON.stringify(value)
    throw new Error(`${shown} is not accepted; expected ${(schema as TSchema & Shown).shown.replaceAll('`', '')}`)
  }
  try {
    return Value.Decode(schema, converted)
  } catch (error) {
    throw (error as { error?: Error }).error ?? error
  }
}

const textOf = (name: string, schema: TSchema, env: NodeJS.ProcessEnv): string | undefined => {
  const file = env[`${name}_FILE`]
  if (!schema.secret || file === undefined) return env[name] === '' ? undefined : env[name]
  if (env[name] !== undefined) throw new Error(`is given twice, as ${name} and as ${name}_FILE`)
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new Error(`cannot be read from ${name}_FILE: ${(error as Error).message}`)
  }
}

// Kubernetes puts such names into every container for a service called, say, "kafka" or "redis".
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$/
const ourPrefixes = ['KAFKA_', 'REDIS_', 'MYKAARMA_']

const misspelt = (settings: Settings, env: NodeJS.ProcessEnv): string[] => {
  const known = Object.entries(settings).flatMap(([name, schema]) => (schema.secret ? [name, `${name}_FILE`] : [name]))
  // A prefix of which this process has no setting is left alone: services may share one environment file.
  const prefixes = ourPrefixes.filter((prefix) => known.some((name) => name.startsWith(prefix)))
  return Object.keys(env).flatMap((name) => {
    if (known.includes(name) || serviceLink.test(name)) return []
    const nearest = known.map((other) => ({ other, steps: distance(name, other) })).sort((a, b) => a.steps - b.steps)[0]
    if (nearest === undefined) return []
    // A name outside our prefixes may be anybody's: only a near miss of a long one of ours is taken for a slip.
    if (!prefixes.some((prefix) => name.startsWith(prefix)) && !(nearest.steps <= 2 && nearest.other.length >= 8)) return []
    return [`${name} is not a setting; the nearest is ${nearest.other}`]
  })
}

/**
 * Reads and checks all settings.
 * @throws SettingsError naming every fault at once.
 */
export const loadSettings = <S extends Settings>(settings: S, env: NodeJS.ProcessEnv): Loaded<S> => {
  const faults = misspelt(settings, env)
  const loaded: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries(settings)) {
    try {
      const value = textOf(name, schema, env) ?? (schema.default === undefined ? undefined : String(schema.default))
      if (value !== undefined) loaded[name] = decode(schema, value)
      else if (!isOptional(schema)) faults.push(`${name} is missing: ${schema.description}`)
    } catch (error) {
      faults.push(`${name}: ${(error as Error).message}`)
    }
  }
  if (faults.length > 0) throw new SettingsError(faults)
  return loaded as Loaded<S>
}

const isOptional = (schema: TSchema): boolean => Type.Object({ schema }).required === undefined

/** The settings as rows of a Markdown table. */
export const describeSettings = (settings: Settings): string =>
  [
    '| setting | values | default | what it does |',
    '| --- | --- | --- | --- |',
    ...Object.entries(settings).map(([name, schema]) => {
      const standard =
        schema.default === '' || isOptional(schema) ? 'none' : schema.default === undefined ? '**required**' : `\`${schema.default}\``
      const file = schema.secret ? ` Also as \`${name}_FILE\`.` : ''
      return `| \`${name}\` | ${(schema as TSchema & Shown).shown} | ${standard} | ${schema.description}${file} |`
    }),
  ].join('\n')
