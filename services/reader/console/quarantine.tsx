import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { QuarantineList, QuarantineSummary } from '../src/http/quarantine-document.ts'
import { ApiError, ask, createLatest } from './api.ts'
import { countOf, formatCount } from './format.ts'
import { Problem } from './problem.tsx'
import { QuarantineRecord } from './quarantine-record.tsx'
import { Redrive } from './redrive.tsx'
import { Scroll } from './scroll.tsx'
import { Time } from './time.tsx'

const list = signal<QuarantineList | undefined>(undefined)
const problem = signal<Error | undefined>(undefined)
const chosen = signal<ReadonlySet<string>>(new Set())
const openedId = signal<string | undefined>(undefined)

const begin = createLatest()

const readList = async (cursor?: string): Promise<void> => {
  const isLatest = begin()
  try {
    const path = `/v1/quarantine${cursor === undefined ? '' : `?cursor=${encodeURIComponent(cursor)}`}`
    const read = await ask<QuarantineList>(path)
    if (!isLatest()) return
    list.value = cursor === undefined ? read : { ...read, records: [...(list.value?.records ?? []), ...read.records] }
    problem.value = undefined
  } catch (error) {
    if (!isLatest()) return
    problem.value = error as Error
    // Another key may have filled the list before.
    if (error instanceof ApiError && error.status === 403) list.value = undefined
  }
}

const choose = (id: string, isChosen: boolean): void => {
  const next = new Set(chosen.value)
  if (isChosen) next.add(id)
  else next.delete(id)
  chosen.value = next
}

const Row = ({ record }: { readonly record: QuarantineSummary }) => {
  const { id, reason, explanation, receivedAt, bytes, handled } = record
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          aria-label={`Select ${id}`}
          disabled={handled !== null}
          checked={chosen.value.has(id)}
          onChange={(event) => choose(id, event.currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <button
          type="button"
          class="id"
          onClick={() => {
            openedId.value = id
            // Move the focus to the record. It is above the table, which may be longer than the
            // window.
            requestAnimationFrame(() => document.getElementById('record')?.focus())
          }}
        >
          <bdi>{id}</bdi>
        </button>
      </th>
      <td class="text">
        <strong>
          <bdi>{reason}</bdi>
        </strong>
        <br />
        <span class="faint">{explanation}</span>
      </td>
      <td>
        <Time at={receivedAt} />
      </td>
      <td class="number">{formatCount(bytes)}</td>
      <td>{handled ?? 'open'}</td>
    </tr>
  )
}

const Records = ({ records, cursor, truncated }: QuarantineList) => (
  <section class="card">
    <h2 id="records">Records</h2>
    {truncated && <p>Quarantine has older records, which this list does not show.</p>}
    {records.length === 0 ? (
      <p>Quarantine is empty.</p>
    ) : (
      <Scroll name="Table of records">
        <table>
          <thead>
            <tr>
              <th scope="col">Select</th>
              <th scope="col">Record</th>
              <th scope="col">Reason</th>
              <th scope="col">Received</th>
              <th scope="col" class="number">
                Bytes
              </th>
              <th scope="col">State</th>
            </tr>
          </thead>
          <tbody>
            {records.map((record) => (
              <Row key={record.id} record={record} />
            ))}
          </tbody>
        </table>
      </Scroll>
    )}
    <div class="row">
      {cursor !== undefined && (
        <button type="button" onClick={() => readList(cursor)}>
          More records
        </button>
      )}
      <button type="button" onClick={() => readList()}>
        Read again
      </button>
    </div>
  </section>
)

const ByReason = ({ records }: QuarantineList) => {
  const open = Map.groupBy(
    records.filter(({ handled }) => handled === null),
    ({ reason }) => reason,
  )
  return (
    <ul class="row">
      {[...open].map(([reason, each]) => (
        <li key={reason}>
          <button
            type="button"
            onClick={() => {
              chosen.value = new Set(each.map(({ id }) => id))
            }}
          >
            Select all with <bdi>{reason}</bdi> ({each.length})
          </button>
        </li>
      ))}
    </ul>
  )
}

export const Quarantine = () => {
  useEffect(() => void readList(), [])
  const { value: read } = list
  const ids = read?.records.map(({ id }) => id).filter((id) => chosen.value.has(id)) ?? []
  const opened = read?.records.find(({ id }) => id === openedId.value)
  const onEnd = () => {
    chosen.value = new Set()
    // Move the focus to the heading, because the button that had the focus is disabled now.
    document.querySelector('h1')?.focus()
    void readList()
  }
  return (
    <>
      <Problem error={problem.value} />
      {read && (
        <>
          <ByReason {...read} />
          <div class="row">
            <Redrive ids={ids} name="Redrive the selected records" onEnd={onEnd} />
            <p role="status">{ids.length > 0 && `${countOf(ids.length, 'record')} selected.`}</p>
          </div>
          {opened && <QuarantineRecord key={`${opened.id} ${opened.handled}`} record={opened} onRedrive={onEnd} />}
          <Records {...read} />
        </>
      )}
    </>
  )
}
