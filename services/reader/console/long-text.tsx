import { Scroll } from './scroll.tsx'

/** A browser needs seconds to show a text of a megabyte. */
const MAX_SHOWN = 65_536

interface LongTextProps {
  readonly name: string
  readonly text: string
  readonly format?: (text: string) => string
}

/** The beginning of a text that may be as long as an event. */
export const LongText = ({ name, text, format = (shown) => shown }: LongTextProps) => (
  <>
    {text.length > MAX_SHOWN && <p>Only the beginning is shown. The reader has sent all bytes.</p>}
    <Scroll name={name}>
      <pre>{format(text.slice(0, MAX_SHOWN))}</pre>
    </Scroll>
  </>
)
