import { waitUntil } from '@customer-stream/runtime'
import type { administratorOf } from '@customer-stream/runtime/kafkajs'

type Administrator = Pick<ReturnType<typeof administratorOf>, 'createAcls' | 'describeAcls'>
type Right = Parameters<Administrator['createAcls']>[0]['acl'][number]

/**
 * Grants rights in Kafka, and waits until the broker uses them. Kafka answers when its controller
 * has the rights. The broker that checks the rights gets them a moment later.
 */
export const grantRights = async (administrator: Administrator, rights: Right[]): Promise<void> => {
  await administrator.createAcls({ acl: rights })
  for (const right of rights)
    await waitUntil(
      'the broker knows the right',
      () => administrator.describeAcls(right),
      ({ resources }) => resources.length > 0,
    )
}
