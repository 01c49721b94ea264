import { brokers, type Mutation } from './mutation.ts'

const file = 'packages/runtime/src/redis/client.ts'
const client = (title: string) => brokers('packages/runtime/src/redis/client.int.test.ts', title)

export const redisMutations: readonly Mutation[] = [
  {
    rule: 'commands to Redis have a timeout',
    prevents: 'an endless wait for a server that hangs',
    file,
    from: 'commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,',
    to: '',
    test: client('a command without an answer fails after REDIS_COMMAND_TIMEOUT_MS'),
  },
  {
    rule: 'a silent connection is dropped',
    prevents: 'all commands of an outage that stay in memory until the server answers again',
    file,
    from: 'socketTimeout: settings.REDIS_COMMAND_TIMEOUT_MS * 2,',
    to: '',
    test: client('a timeout of a command ends the connection, and the next connection works'),
  },
  {
    rule: 'a connection that cannot select its database is closed',
    prevents: 'customers in database 0 although REDIS_URL names another database',
    file,
    from: 'if (isFailedSelect(error)) redis.disconnect(true)',
    to: '',
    test: client('a missing database is an error, and nothing is written to database 0'),
  },
  {
    rule: 'no command is queued without a connection',
    prevents: 'commands that fill the memory during an outage, and run too late after the outage',
    file,
    from: 'enableOfflineQueue: false,\n    retryStrategy',
    to: 'retryStrategy',
    test: client('without a connection a command fails immediately, and is not sent later'),
  },
  {
    rule: 'a command in flight fails with its connection and is not sent again',
    prevents: 'a command that runs twice, and its caller does not know',
    file,
    from: 'maxRetriesPerRequest: 0,',
    to: '',
    test: client('a command fails immediately if its connection is lost, and is not sent again'),
  },
  {
    rule: 'the client disconnects from a primary that has become a replica',
    prevents: 'READONLY errors forever after a failover',
    file,
    from: `reconnectOnError: (error) => error.message.includes('READONLY'),`,
    to: '',
    test: client('a client reconnects to the same address after its primary became a replica'),
  },
  {
    rule: 'the clients that listen for a failover of Sentinel have an error listener',
    prevents: 'lines in the log that are not JSON, while one Sentinel is down',
    file: 'packages/runtime/src/redis/sentinel.ts',
    from: '  ignoreSilentSentinels(redis)\n',
    to: '',
    test: brokers(
      'packages/runtime/src/redis/sentinel.int.test.ts',
      'ioredis prints nothing to stderr while one Sentinel is down',
    ),
  },
  {
    rule: 'a client that ioredis has given up connects again',
    prevents: 'a service that never reaches Redis again, although its wrong certificate was replaced',
    file,
    from: '  connectAgainAtEnd(redis)\n',
    to: '',
    test: brokers(
      'packages/runtime/src/redis/tls.int.test.ts',
      'the client connects again after OpenSSL has refused its certificate',
    ),
  },
]
