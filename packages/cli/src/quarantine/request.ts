/** Options of a command that writes: the person who asks, and `--execute`. */
import { MAX_AUDIT_TEXT } from '@customer-stream/quarantine'
import type { Given } from '@customer-stream/runtime/command-line'

export const REQUEST_USAGE = `  --execute             make the changes. Without this option the command only
                        prints what it would change
  --requested-by NAME   who requested the changes. The audit keeps the name
                        forever
  --json                print JSON objects, the summary last`

/** @throws Error if the text is blank, or longer than the audit allows. */
export const auditText = (name: string, text: string | undefined): string | undefined => {
  if (text?.trim() === '') throw new Error(`--${name} is blank`)
  if (text !== undefined && text.length > MAX_AUDIT_TEXT)
    throw new Error(`--${name} must have at most ${MAX_AUDIT_TEXT} characters`)
  return text
}

/** Returns the name of the person, or undefined for a dry run. */
export const readRequest = ({ texts, flags }: Pick<Given, 'texts' | 'flags'>): string | undefined => {
  const requestedBy = auditText('requested-by', texts['requested-by'])
  if (!flags.has('execute')) return undefined
  if (requestedBy === undefined) throw new Error('--requested-by is missing: the audit needs the name of a person')
  return requestedBy
}
