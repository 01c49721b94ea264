/**
 * Settings of a process. Each setting is a TypeBox schema with a description, and is read from one
 * environment variable. All problems are reported together, misspelt names included.
 * docs/configuration.md is generated from the schemas.
 */
import { readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { type StaticDecode, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { closest, distance } from 'fastest-levenshtein'
import { nodeHttp } from './node-http.ts'

interface Described {
  readonly description: string
}
/** Options of a setting. A setting without a default is required, unless it is `optional`. */
interface Defaulted<T> extends Described {
  readonly default?: T
}

/**
 * Marks a secret value. Errors never show the value. The value may be in a file whose path is in
 * the variable NAME_FILE.
 */
const secret = { secret: true } as const

/** Description of the accepted values in the generated documentation. */
type Shown = { readonly shown: string }

/** Allows line breaks in the value. All other control characters are refused in every value. */
const lines = { lines: true } as const

/** A text must have a character that is not a blank. */
const aText = { pattern: '\\S', minLength: 1, maxLength: 4096, shown: 'text' } as const

/** `shown` describes the accepted values, for the documentation and for errors. */
export const text = (options: Defaulted<string> & { pattern?: string; shown?: string }) =>
  Type.String({ ...aText, ...options })

export const optionalText = (options: Described) => Type.Optional(Type.String({ ...aText, ...options }))

export const optionalSecret = (options: Described & { pattern?: string; shown?: string }) =>
  Type.Optional(Type.String({ ...aText, ...secret, ...options }))

/** One or more certificates in PEM format. */
export const optionalCertificates = (options: Described) =>
  Type.Optional(Type.String({ minLength: 1, shown: 'text', ...secret, ...lines, certificates: true, ...options }))

/** A private key in PEM format. */
export const optionalPrivateKey = (options: Described) =>
  Type.Optional(Type.String({ minLength: 1, shown: 'text', ...secret, ...lines, ...options }))

export const integer = (options: Defaulted<number> & { minimum: number; maximum: number }) =>
  Type.Integer({ shown: `integer, ${options.minimum} to ${options.maximum}`, ...options })

export const ratio = (options: Defaulted<number>) =>
  Type.Number({ shown: 'number, 0 to 1', minimum: 0, maximum: 1, ...options })

export const flag = (options: Described & { default: boolean }) =>
  Type.Boolean({ shown: '`true` or `false`', ...options })

export const choice = <const T extends readonly string[]>(values: T, options: Defaulted<T[number]>) =>
  Type.Union(
    values.map((value) => Type.Literal(value)),
    { shown: values.map((value) => `\`${value}\``).join(', '), ...options },
  ) as unknown as ReturnType<typeof Type.Unsafe<T[number]>>

/**
 * Returns the entries of a list, or none if the setting is not given.
 * @throws Error if the value has separators and blanks only. Otherwise a list of allowed addresses
 *   would allow every address.
 */
export const entriesOf = (value: string, separator: string | RegExp = ','): string[] => {
  const entries = value
    .split(separator)
    .map((item) => item.trim())
    .filter((item) => item !== '')
  if (value !== '' && entries.length === 0)
    throw new Error('the value has no entry; give one, or leave the setting out')
  return entries
}

/** `a,b,c` */
export const list = (options: Defaulted<string>) =>
  Type.Transform(Type.String({ minLength: 1, shown: 'comma-separated list', ...options }))
    .Decode((value): readonly string[] => entriesOf(value))
    .Encode((value) => value.join(','))

/** `topic/partition/offset,topic/partition/offset` */
export const recordPlaces = (options: Described) =>
  Type.Transform(Type.String({ shown: '`topic/partition/offset`, comma-separated', default: '', ...options }))
    .Decode((value): ReadonlySet<string> => {
      const places = entriesOf(value)
      const wrong = places.find((place) => !/^[^/]+\/\d+\/\d+$/.test(place))
      if (wrong !== undefined) throw new Error(`${quoted(wrong)} is not of the form topic/partition/offset`)
      return new Set(places)
    })
    .Encode((value) => [...value].join(','))

/** Secret values with names. */
const pairs = { shown: '`name=value`, separated by commas or line breaks', default: '', ...secret, ...lines } as const

const secretEntries = (value: string): string[] => entriesOf(value, /[,\r\n]/)

/**
 * `name=value,name=value`: several secrets, so a secret can be rotated without a gap. In a file,
 * line breaks may separate the secrets. Metrics show the names, never the values.
 */
export const namedSecrets = (options: Described) =>
  Type.Transform(Type.String({ ...pairs, ...options }))
    .Decode((value): ReadonlyMap<string, string> => {
      const named = new Map<string, string>()
      for (const [i, item] of secretEntries(value).entries()) {
        const [, name, content] = /^([A-Za-z0-9_.-]+)=(.+)$/.exec(item) ?? []
        // The message has the entry's number instead of its content, because the content may be a
        // secret.
        if (name === undefined || content === undefined) throw new Error(`entry ${i + 1} is not of the form name=value`)
        if (named.has(name)) throw new Error(`the name ${quoted(name)} is given twice`)
        named.set(name, content)
      }
      return named
    })
    .Encode((value) => [...value].map((pair) => pair.join('=')).join(','))

/** A secret text that `read` decodes. An error of `read` must not contain the value. */
export const decodedSecret = <T>(read: (value: string) => T, options: Described & Shown) =>
  Type.Transform(Type.String({ default: '', ...secret, ...lines, ...options }))
    .Decode(read)
    .Encode(() => '')

/** Returns an address without the slash at its end. */
const readHttpAddress = (value: string): string => {
  const url = URL.parse(value)
  // The messages do not show the value, because the value may have a password.
  if (!url || !/^https?:$/.test(url.protocol)) throw new Error('the value is not of the form http://host:port')
  if (url.username !== '' || url.password !== '')
    throw new Error('the value has a user or a password; give these in a header')
  if (url.search !== '' || url.hash !== '') throw new Error('the value has a query or a fragment')
  return url.href.replace(/\/+$/, '')
}

/** `http://host:port`. Undefined if the setting is empty. */
export const httpAddress = (options: Described) =>
  Type.Transform(Type.String({ shown: '`http://…` or `https://…`', default: '', ...options }))
    .Decode((value): string | undefined => (value === '' ? undefined : readHttpAddress(value)))
    .Encode((value) => value ?? '')

/** `http://host:port,http://host:port` */
export const httpAddresses = (options: Described) =>
  Type.Transform(Type.String({ shown: '`http://…` or `https://…`, comma-separated', default: '', ...options }))
    .Decode((value): readonly string[] => entriesOf(value).map(readHttpAddress))
    .Encode((value) => value.join(','))

/** Throws if the text cannot be the value of an HTTP header. */
const headerValue = (name: string, encoded: string): string => {
  const decoded = decodeURIComponent(encoded)
  nodeHttp().validateHeaderValue(name, decoded)
  return decoded
}

/** `name=value,name=value`: headers of HTTP requests, with percent-encoded values. */
export const httpHeaders = (options: Described) =>
  Type.Transform(Type.String({ ...pairs, ...options }))
    .Decode((value): ReadonlyMap<string, string> => {
      const headers = new Map<string, string>()
      for (const [i, item] of secretEntries(value).entries()) {
        const [, name, encoded] = /^([\w!#$%&'*+.^`|~-]+)\s*=\s*(.*)$/.exec(item) ?? []
        try {
          if (name === undefined || encoded === undefined) throw new Error('no name')
          headers.set(name, headerValue(name, encoded))
        } catch {
          // The message has the entry's number instead of its content, which may be a secret.
          throw new Error(`entry ${i + 1} is not of the form name=value, with a percent-encoded value`)
        }
      }
      return headers
    })
    .Encode((value) => [...value].map(([name, content]) => `${name}=${encodeURIComponent(content)}`).join(','))

/**
 * Removes the port that some gateways add in `X-Forwarded-For`: `192.0.2.1:51008`,
 * `[2001:db8::1]:443`.
 */
const withoutPort = (address: string): string =>
  /^"?(?:\[(.+)\]|([\d.]+))(?::\d+)?"?$/.exec(address)?.slice(1).find(Boolean) ?? address

/** Addresses and CIDR ranges, `10.0.0.0/8,2001:db8::1`. Undefined if the setting is empty. */
export const addresses = (options: Described) =>
  Type.Transform(Type.String({ shown: 'addresses or CIDR ranges, comma-separated', default: '', ...options }))
    .Decode((value): { readonly ranges: readonly string[]; includes(address: string): boolean } | undefined => {
      const ranges = entriesOf(value)
      if (ranges.length === 0) return undefined
      const known = new BlockList()
      for (const range of ranges) {
        const [address = '', prefix, ...rest] = range.split('/')
        const family = isIP(address)
        const bits = prefix === undefined ? (family === 6 ? 128 : 32) : Number(prefix)
        if (
          family === 0 ||
          rest.length > 0 ||
          prefix === '' ||
          !Number.isInteger(bits) ||
          bits < 0 ||
          bits > (family === 6 ? 128 : 32)
        ) {
          throw new Error(`${quoted(range)} is neither an address nor a CIDR range`)
        }
        known.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4')
      }
      // BlockList also matches IPv4-mapped IPv6 addresses (::ffff:10.0.0.1).
      const includes = (given: string): boolean => {
        const address = withoutPort(given)
        return isIP(address) !== 0 && known.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
      }
      return { ranges, includes }
    })
    .Encode((value) => value?.ranges.join(',') ?? '')

export type Settings = Readonly<Record<string, TSchema>>
export type Loaded<S extends Settings> = { readonly [Name in keyof S]: StaticDecode<S[Name]> }

/** Error with all problems of the settings, one line for each problem. */
export class SettingsError extends Error {
  /** Each problem as one sentence or more, without secrets. */
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? 'One setting is wrong' : `${problems.length} settings are wrong`
    const shown = problems.map(oneLine)
    super([`${count}:`, ...shown.map((problem) => `  - ${problem}`)].join('\n'))
    this.name = 'SettingsError'
    this.problems = shown
  }
}

const convert = (schema: TSchema, value: string): unknown => {
  if (schema.type === 'integer') return /^-?\d+$/.test(value) ? Number(value) : value
  if (schema.type === 'number') return /^(?:\d+\.?\d*|\.\d+)$/.test(value) ? Number(value) : value
  if (schema.type === 'boolean') return value === 'true' ? true : value === 'false' ? false : value
  return value
}

const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u
const CONTROL_IN_LINES = /[^\P{Cc}\t\r\n]/u

/** Returns the problem as one line. Escapes control characters, which a terminal would obey. */
const oneLine = (problem: string): string =>
  problem.replaceAll(new RegExp(CONTROL, 'gu'), (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)

const MAX_QUOTED_CHARACTERS = 100

/** Quotes a value of a setting for an error. Cuts a long value. */
export const quoted = (value: string): string =>
  value.length <= MAX_QUOTED_CHARACTERS
    ? JSON.stringify(value)
    : `${JSON.stringify(value.slice(0, MAX_QUOTED_CHARACTERS))}… (${value.length} characters)`

const decode = (schema: TSchema, value: string): unknown => {
  const converted = convert(schema, value)
  const problem = Value.Errors(schema, converted).First()
  const shown = schema.secret ? 'the value' : quoted(value)
  if ((schema.lines ? CONTROL_IN_LINES : CONTROL).test(value)) throw new Error(`${shown} has a control character`)
  if (problem) {
    if (schema.maxLength !== undefined && value.length > schema.maxLength)
      throw new Error(`${shown} is too long; expected at most ${schema.maxLength} characters`)
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
  if (env[name]) throw new Error(`is given twice, as ${name} and as ${name}_FILE`)
  let content: string
  try {
    content = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new Error(`cannot be read from ${name}_FILE: ${(error as Error).message}`)
  }
  if (content === '') throw new Error(`the file that ${name}_FILE names is empty: ${quoted(file)}`)
  return content
}

// Kubernetes sets such variables in each container if a service is called "kafka" or "redis".
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$/
const ourPrefixes = ['KAFKA_', 'REDIS_', 'MYKAARMA_', 'READER_']

const units = /_(?:MS|MILLIS|MILLISECONDS|S|SECS?|SECONDS|MINUTES|BYTES|KB|KIB|MB|MIB|SIZE)$/
const withoutUnit = (name: string): string => name.replace(units, '')

/**
 * Returns true if the name is probably a misspelling of the setting: one wrong letter in a long
 * name, a missing or different unit, a longer last word, or a missing prefix. Any other name may be
 * a variable of another program.
 */
const means = (name: string, setting: string): boolean => {
  if (!setting.includes('_') || setting.length < 8) return false
  if (name.toUpperCase().replaceAll(/[.-]/g, '_') === setting) return true
  const wrongLetters = setting.length >= 12 ? 3 : 2
  // Compare the lengths first. `distance` is slow, and each start compares each variable with each
  // setting.
  const isNear = Math.abs(name.length - setting.length) <= wrongLetters && distance(name, setting) <= wrongLetters
  if (isNear) return true
  if (units.test(setting) && withoutUnit(name) === withoutUnit(setting)) return true
  if (name.startsWith(setting) && !name.slice(setting.length).includes('_')) return true
  return name.length >= 12 && setting === `MYKAARMA_${name}`
}

const wordsOf = (name: string): readonly string[] => name.split('_').map((word) => word.replace(/S$/, ''))

/** Returns true if the setting has each word of the name, in the singular or the plural. */
const hasWordsOf = (name: string, setting: string): boolean =>
  wordsOf(name).every((word) => wordsOf(setting).includes(word))

/** Returns the names of all variables that these settings read. */
const variablesOf = (settings: Settings): readonly string[] =>
  Object.entries(settings).flatMap(([name, schema]) => (schema.secret ? [name, `${name}_FILE`] : [name]))

const misspelt = (settings: Settings, env: NodeJS.ProcessEnv, others: Settings): string[] => {
  const own = variablesOf(settings)
  // Ignore prefixes of other services, because services may share one environment file.
  const prefixes = ourPrefixes.filter((prefix) => own.some((name) => name.startsWith(prefix)))
  const ofOthers = variablesOf(others).filter((name) => prefixes.some((prefix) => name.startsWith(prefix)))
  const known = [...own, ...ofOthers]
  return Object.keys(env).flatMap((name) => {
    if (known.includes(name) || serviceLink.test(name)) return []
    const wrong = `${name.slice(0, MAX_QUOTED_CHARACTERS)} is not a setting`
    const whole = Object.entries(settings).find(([, { parts }]) => parts?.includes(name.replace(/_FILE$/, '')))
    if (whole !== undefined) return [`${wrong}: this value is a part of ${whole[0]}`]
    const meant = known.filter((other) => means(name, other))
    if (meant.length === 0 && !prefixes.some((prefix) => name.startsWith(prefix))) return []
    const similar = meant.length > 0 ? meant : known.filter((other) => hasWordsOf(name, other))
    return [`${wrong}; the nearest is ${closest(name, similar.length > 0 ? similar : known)}`]
  })
}

/** Checks several settings together. Returns a sentence about the problem, or undefined. */
export type Rule<S extends Settings> = (settings: Loaded<S>) => string | undefined

/** Thrown if a rule reads a setting whose own problem is already reported. */
const isWrong = Symbol('wrong setting')

export interface BrokenRule {
  readonly problem: string
  /** Settings that the rule has read. */
  readonly names: ReadonlySet<PropertyKey>
}

/**
 * Returns the problems that the rules find.
 * @param wrong settings without a value. A rule that reads such a setting is skipped.
 */
export const brokenRules = <S extends Settings>(
  rules: readonly Rule<S>[],
  loaded: Loaded<S>,
  wrong: ReadonlySet<PropertyKey> = new Set(),
): readonly BrokenRule[] =>
  rules.flatMap((rule) => {
    const names = new Set<PropertyKey>()
    const readable = new Proxy(loaded, {
      get: (target, name) => {
        if (wrong.has(name)) throw isWrong
        names.add(name)
        return Reflect.get(target, name)
      },
    })
    try {
      const problem = rule(readable)
      return problem === undefined ? [] : [{ problem, names }]
    } catch (error) {
      if (error !== isWrong) throw error
      return []
    }
  })

/**
 * Reads and checks all settings.
 * @param rules checks of several settings. A rule that reads a wrong setting is skipped.
 * @param others settings of other services that may be in the same environment. They are not read.
 * @throws SettingsError with all problems.
 */
export const loadSettings = <S extends Settings>(
  settings: S,
  env: NodeJS.ProcessEnv,
  rules: readonly Rule<NoInfer<S>>[] = [],
  others: Settings = {},
): Loaded<S> => {
  const problems = misspelt(settings, env, others)
  const wrong = new Set<PropertyKey>()
  const loaded: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries(settings)) {
    try {
      const value = textOf(name, schema, env) ?? (schema.default === undefined ? undefined : String(schema.default))
      if (value !== undefined) loaded[name] = decode(schema, value)
      else if (!isOptional(schema)) {
        wrong.add(name)
        problems.push(`${name} is missing: ${schema.description}`)
      }
    } catch (error) {
      wrong.add(name)
      problems.push(`${name}: ${(error as Error).message}`)
    }
  }
  problems.push(...brokenRules(rules, loaded as Loaded<S>, wrong).map(({ problem }) => problem))
  if (problems.length > 0) throw new SettingsError(problems)
  return loaded as Loaded<S>
}

const isOptional = (schema: TSchema): boolean => Type.Object({ schema }).required === undefined

/** The value of a setting that a process would use. */
export interface EffectiveSetting {
  readonly name: string
  /** Undefined if the setting has no value, or if the value is a secret. */
  readonly value?: string
  readonly isSecret: boolean
  /** `file`: the variable NAME_FILE names a file that has the value. */
  readonly source: 'environment' | 'file' | 'default' | 'none'
}

/** Hides the password of an address such as `https://user:password@host`. */
const withoutLogin = (value: string): string => value.replace(/:\S*@/, ':…@')

/** Returns each setting with its value. Reads no file, and does not check the values. */
export const effectiveSettings = (settings: Settings, env: NodeJS.ProcessEnv): EffectiveSetting[] =>
  Object.entries(settings).map(([name, schema]) => {
    const isSecret = schema.secret === true
    if (isSecret && env[`${name}_FILE`] !== undefined) return { name, isSecret, source: 'file' }
    const isGiven = env[name] !== undefined && env[name] !== ''
    const value = withoutLogin((isGiven ? env[name] : undefined) ?? String(schema.default ?? ''))
    if (value === '') return { name, isSecret, source: 'none' }
    return { name, isSecret, source: isGiven ? 'environment' : 'default', ...(!isSecret && { value }) }
  })

/** Returns the settings as rows of a Markdown table. */
export const describeSettings = (settings: Settings): string =>
  [
    '| setting | values | default | what it does |',
    '| --- | --- | --- | --- |',
    ...Object.entries(settings).map(([name, schema]) => {
      const standard =
        schema.default === '' || isOptional(schema)
          ? 'none'
          : schema.default === undefined
            ? '**required**'
            : `\`${schema.default}\``
      const file = schema.secret ? ` Also as \`${name}_FILE\`.` : ''
      return `| \`${name}\` | ${(schema as TSchema & Shown).shown} | ${standard} | ${schema.description}${file} |`
    }),
  ].join('\n')
