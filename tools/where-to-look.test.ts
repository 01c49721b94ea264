import { expect, it } from 'vitest'
import { whereToLook } from './where-to-look.ts'

it.each([
  [['a:1'], ' KAFKA_REPLICATION_FACTOR=1\n'],
  [['a:1', 'b:1', 'c:1'], ' REDIS_URL=redis://r:1\n'],
])(
  'the printed commands set only the settings that differ from the defaults, for the brokers %j',
  (kafkaBrokers, end) => {
    const text = whereToLook(
      { kafkaBrokers, redisUrl: 'redis://r:1' },
      {
        ingress: { url: 'u', adminUrl: 'a' },
        projector: { adminUrl: 'p' },
        reader: { url: 'r', adminUrl: 'b' },
      },
      { secret: 's', token: 't', apiKey: 'k' },
    )
    expect(/export .*\n/.exec(text)?.[0]).toContain(end)
    expect(text).toContain('\n  npm run status -- --ingress a --projector p --reader b ')
    expect(text).toContain('\n  Console: r/ with the API key k\n')
  },
)
