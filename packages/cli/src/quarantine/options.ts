/** Options of the four `quarantine` commands. A `text` has a value. A `flag` has no value. */
export const FILTER_OPTIONS = {
  reason: 'text',
  since: 'text',
  until: 'text',
  customer: 'text',
  limit: 'text',
} as const

export const OPTIONS = {
  list: { ...FILTER_OPTIONS, all: 'flag', json: 'flag' },
  show: { json: 'flag' },
  redrive: {
    ...FILTER_OPTIONS,
    charset: 'text',
    execute: 'flag',
    'requested-by': 'text',
    rate: 'text',
    json: 'flag',
  },
  drop: { ...FILTER_OPTIONS, note: 'text', execute: 'flag', 'requested-by': 'text', json: 'flag' },
} as const
