import { type Mutation, unit } from './mutation.ts'

const folder = 'packages/runtime/src/process'
const traces = (title: string) => unit(`${folder}/traces.test.ts`, title)

export const traceMutations: readonly Mutation[] = [
  {
    rule: 'spans are dropped and counted when too many wait',
    prevents: 'spans that the library drops without a warning',
    file: `${folder}/open-telemetry.ts`,
    from: 'if (waiting >= MAX_WAITING_SPANS) return onDropped(1)',
    to: 'if (waiting < 0) return onDropped(1)',
    test: traces('if the collector never answers, memory is bounded, and a shutdown waits for one second'),
  },
  {
    rule: 'a shutdown waits only a moment for the collector',
    prevents: 'a service that ends too late, because the collector hangs',
    file: `${folder}/traces.ts`,
    from: 'answerOf(shutdown, TRACES_STOP_MS)',
    to: 'shutdown()',
    test: traces('if the collector never answers, memory is bounded, and a shutdown waits for one second'),
  },
  {
    rule: 'a shutdown may export all waiting spans at once',
    prevents: 'spans that are lost, because the library starts all exports of a shutdown at the same time',
    file: `${folder}/open-telemetry.ts`,
    from: 'concurrencyLimit: MAX_EXPORTS',
    to: 'concurrencyLimit: 1',
    test: traces('a shutdown exports all spans that wait'),
  },
  {
    rule: 'the span of a request that is not authentic begins a new trace',
    prevents: 'strangers who choose which traces are exported',
    file: 'services/ingress/src/http/request-spans.ts',
    from: 'parent: undefined',
    to: 'parent: given',
    test: unit('services/ingress/src/http/app.test.ts', 'a stranger cannot choose which traces are exported'),
  },
  {
    rule: 'an invalid trace context is not passed on',
    prevents: 'foreign text in the headers of all topics',
    file: 'packages/schemas/src/trace-context.ts',
    from: '|| !traceparentForm.test(traceparent)',
    to: '',
    test: unit(
      'services/ingress/src/http/app.test.ts',
      'the record of an event has the trace context of the request, if this context is well-formed',
    ),
  },
]
