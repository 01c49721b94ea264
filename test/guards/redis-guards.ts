import { brokers, type Guard } from './guard.ts'

const file = 'packages/runtime/src/redis/client.ts'
const client = (title: string) => brokers('packages/runtime/src/redis/client.int.test.ts', title)

export const redisGuards: readonly Guard[] = [
  {
    guard: 'commands have a time-out',
    prevents: 'waiting for ever for a server that hangs',
    file,
    from: 'commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,',
    to: '',
    test: client('is given up by each command'),
  },
  {
    guard: 'a silent connection is dropped',
    prevents: 'every command of an outage kept in memory until the server answers again',
    file,
    from: 'socketTimeout: settings.REDIS_COMMAND_TIMEOUT_MS * 2,',
    to: '',
    test: client('loses its connection'),
  },
  {
    guard: 'a connection that may not select its database is closed',
    prevents: 'customers in database 0 while REDIS_URL names another',
    file,
    from: 'if (isFailedSelect(error)) redis.disconnect(true)',
    to: '',
    test: client('is an error, and nothing is written to database 0'),
  },
  {
    guard: 'nothing is queued while there is no connection',
    prevents: 'memory without bound, and commands of long ago that are run at the end of an outage',
    file,
    from: 'lazyConnect: true, enableOfflineQueue: false,',
    to: 'lazyConnect: true,',
    test: client('fails what comes then at once'),
  },
  {
    guard: 'what was under way is failed, not sent again',
    prevents: 'a command run twice, behind the back of who sent it',
    file,
    from: 'maxRetriesPerRequest: 0,',
    to: '',
    test: client('fails what was under way at once'),
  },
  {
    guard: 'a primary that has become a replica is left',
    prevents: 'READONLY for ever, after a fail-over',
    file,
    from: `reconnectOnError: (error) => error.message.includes('READONLY'),`,
    to: '',
    test: client('looks for the new primary'),
  },
]
