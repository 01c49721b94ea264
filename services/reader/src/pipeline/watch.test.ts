import { expect, it } from 'vitest'
import type { Dealer } from '../dealers.ts'
import { createPipelineWatch, type WatchDependencies } from './watch.ts'

const noAnswer = () => Promise.reject(new Error('no answer'))

it('dealers are counted at once when the first dealer appears, and then once a minute', async () => {
  const dealers: Partial<Dealer>[] = []
  const deps: Partial<WatchDependencies> = {
    ask: noAnswer,
    explain: () => 'no answer',
    tail: { refresh: noAnswer, refreshAgain: noAnswer },
    positions: { readProgress: noAnswer },
    redis: { hgetall: noAnswer } as unknown as WatchDependencies['redis'],
    askIngresses: async () => ({ ingresses: undefined, problems: [] }),
    listDealers: async () => ({ kind: 'page', dealers: dealers as Dealer[], next: undefined }),
  }
  const options = { topic: 'raw', keyPrefix: '', projection: 1 }
  const watch = createPipelineWatch(deps as WatchDependencies, options)
  const known = async () => {
    await watch.measure()
    return watch.document()?.dealers?.known
  }
  expect(await known()).toBe(0)
  dealers.push({ state: 'new', lastEventAt: 1 })
  expect(await known()).toBe(1)
  dealers.push({ state: 'new', lastEventAt: 2 })
  expect(await known()).toBe(1)
})
