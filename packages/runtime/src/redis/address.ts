/** Address of one Redis server, and the login for it. */
export interface RedisAddress {
  readonly tls: boolean
  /** With Sentinel, the name of the primary. */
  readonly host: string
  readonly port: number
  /** Path of a Unix socket, which replaces host and port. */
  readonly path?: string
  readonly username?: string
  readonly password?: string
  readonly database: number
}

const forms = /^(redis|rediss|unix):\/\//

/** Adds a host to the URL of a socket, because a WHATWG URL with a user must have a host. */
const withHost = (url: string): string => url.replace(/^unix:\/\/([^/]*@)?\//, 'unix://$1socket/')

/** Reads a Redis URL. Returns undefined for any other text. */
export const parseAddress = (text: string): RedisAddress | undefined => {
  const form = forms.exec(text)?.[1]
  const isSocket = form === 'unix'
  const url = isSocket ? withHost(text) : text
  if (form === undefined || !URL.canParse(url)) return undefined
  const { hostname, port, pathname, search, username, password } = new URL(url)
  const database = isSocket ? /^(?:\?db=(\d+))?$/.exec(search) : /^\/?(\d*)$/.exec(pathname + search)
  if (!database || hostname === '' || (isSocket && (hostname !== 'socket' || pathname.length < 2))) return undefined
  try {
    return {
      tls: form === 'rediss',
      // A URL has an IPv6 address in brackets. The socket needs the address without brackets.
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port || 6379),
      ...(isSocket && { path: decodeURIComponent(pathname) }),
      ...(username !== '' && { username: decodeURIComponent(username) }),
      ...(password !== '' && { password: decodeURIComponent(password) }),
      database: Number(database[1] ?? 0),
    }
  } catch {
    // A `%` in the URL does not begin a valid percent-encoding.
    return undefined
  }
}

/** Returns the addresses in REDIS_URL. Undefined if one of the addresses is wrong. */
export const parseAddresses = (redisUrl: string): readonly [RedisAddress, ...RedisAddress[]] | undefined => {
  const addresses = redisUrl.split(',').map((url) => parseAddress(url.trim()))
  return addresses.includes(undefined) ? undefined : (addresses as [RedisAddress, ...RedisAddress[]])
}

/** Returns the addresses in a REDIS_URL that the rules of the settings have accepted. */
export const addressesOf = ({
  REDIS_URL,
}: {
  readonly REDIS_URL: string
}): readonly [RedisAddress, ...RedisAddress[]] => {
  const addresses = parseAddresses(REDIS_URL)
  if (!addresses) throw new Error('REDIS_URL is not an address of Redis')
  return addresses
}
