import { formatSpan, formatTime, UNKNOWN } from './format.ts'

/** A moment, and how long ago it was. */
export const Time = ({ at, isAgo = false }: { readonly at: number | null | undefined; readonly isAgo?: boolean }) => {
  if (at == null) return <span>{UNKNOWN}</span>
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return <span>{at}</span>
  const ago = `${formatSpan(Math.max(0, Date.now() - at))} ago`
  return (
    <time dateTime={date.toISOString()} title={date.toISOString()}>
      {isAgo ? ago : formatTime(at)}
    </time>
  )
}
