import type { ComponentChildren } from 'preact'
import { MASK, UNKNOWN } from './format.ts'

export const isMasked = (value: unknown): boolean => JSON.stringify(value)?.includes(`"${MASK}"`) ?? false

/** A text from the sender. Preact makes it a text node, so markup in the text has no effect. */
const Text = ({ text }: { readonly text: string }) =>
  text === MASK ? (
    <span class="masked">
      <span aria-hidden="true">•••</span>
      <span class="hidden">masked</span>
    </span>
  ) : (
    <bdi>{text}</bdi>
  )

/** The value of a field, with all members of lists and objects. */
export const Value = ({ value }: { readonly value: unknown }): ComponentChildren => {
  if (value === null || value === undefined || value === '') return <span class="faint">{UNKNOWN}</span>
  if (typeof value !== 'object') return <Text text={String(value)} />
  if (!Array.isArray(value)) return <Fields of={value} />
  if (value.length === 0) return <span class="faint">none</span>
  return (
    <ol class="values">
      {value.map((item, i) => (
        <li key={i}>
          <Value value={item} />
        </li>
      ))}
    </ol>
  )
}

/** The members of an object, by name. */
export const Fields = ({ of, without = [] }: { readonly of: object; readonly without?: readonly string[] }) => (
  <dl class="fields">
    {Object.entries(of)
      .filter(([name]) => !without.includes(name))
      .map(([name, value]) => (
        <div key={name}>
          <dt>
            <bdi>{name}</bdi>
          </dt>
          <dd>
            <Value value={value} />
          </dd>
        </div>
      ))}
  </dl>
)
