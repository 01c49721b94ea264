import type { ComponentChildren } from 'preact'

/** A wide part of the page. The keyboard can scroll this part, because it can have the focus. */
export const Scroll = ({ name, children }: { readonly name: string; readonly children: ComponentChildren }) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard scrolls only a focused part.
  <section class="scroll" tabIndex={0} aria-label={name}>
    {children}
  </section>
)
