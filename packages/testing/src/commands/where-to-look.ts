import type { PipelineBrokers } from '../pipeline.ts'

/** Commands for another terminal. They need nothing that is not in this repository. */
export const whereToLook = (
  { kafkaBrokers, redisUrl }: PipelineBrokers,
  { url, adminUrl }: { readonly url: string; readonly adminUrl: string },
  { secret, token }: { readonly secret: string; readonly token: string },
  customerUuid = '<customerUuid>',
): string => `In another terminal, in this folder:

  export KAFKA_BROKERS=${kafkaBrokers.join(',')} REDIS_URL=${redisUrl}
  npm run look                      what is in Kafka and in Redis
  npm run look -- ${customerUuid}   one customer: the hash, and the events behind it
  npm run verify                    compares Redis with Kafka
  npm run simulate -- --url ${url}/webhooks/mykaarma --secret ${secret} --token ${token} --events 100 --customers 10

  Metrics: ${adminUrl}/metrics`
