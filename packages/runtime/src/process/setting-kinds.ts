/** Kinds of settings. A kind defines which texts a setting accepts, and decodes the text. */
import { BlockList, isIP } from 'node:net'
import { type StaticDecode, type TSchema, Type } from '@sinclair/typebox'
import { nodeHttp } from './node-http.ts'
import { quoted } from './quoted.ts'

export type Settings = Readonly<Record<string, TSchema>>
export type Loaded<S extends Settings> = { readonly [Name in keyof S]: StaticDecode<S[Name]> }

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
export type Shown = { readonly shown: string }

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

/** A list of texts, `a,b,c`. */
export const list = (options: Defaulted<string>) =>
  Type.Transform(Type.String({ minLength: 1, shown: 'comma-separated list', ...options }))
    .Decode((value): readonly string[] => entriesOf(value))
    .Encode((value) => value.join(','))

/** A list of records, each as `topic/partition/offset`. */
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
 * Several secrets, `name=value,name=value`. So a secret can be rotated without a gap. In a file,
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
    throw new Error('the value has a user or a password; give the login in a header')
  if (url.search !== '' || url.hash !== '') throw new Error('the value has a query or a fragment')
  return url.href.replace(/\/+$/, '')
}

/** `http://host:port`. Undefined if the setting is empty. */
export const httpAddress = (options: Described) =>
  Type.Transform(Type.String({ shown: '`http://…` or `https://…`', default: '', ...options }))
    .Decode((value): string | undefined => (value === '' ? undefined : readHttpAddress(value)))
    .Encode((value) => value ?? '')

/** A list of addresses, each as `http://host:port`. */
export const httpAddresses = (options: Described) =>
  Type.Transform(Type.String({ shown: '`http://…` or `https://…`, comma-separated', default: '', ...options }))
    .Decode((value): readonly string[] => entriesOf(value).map(readHttpAddress))
    .Encode((value) => value.join(','))

/** Decodes the value of an HTTP header. @throws an error if HTTP does not allow the value. */
const headerValue = (name: string, encoded: string): string => {
  const decoded = decodeURIComponent(encoded)
  nodeHttp().validateHeaderValue(name, decoded)
  return decoded
}

/** Headers of HTTP requests, `name=value,name=value`, with percent-encoded values. */
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
