/** The view that the address of the page names, for example `#look-up/CUSTOMER_UUID`. */
import { signal } from '@preact/signals'

export interface Place {
  readonly view: string
  readonly detail: string | undefined
}

const readPlace = (): Place => {
  const [view = '', detail] = location.hash.slice(1).split('/')
  try {
    return { view, detail: detail === undefined ? undefined : decodeURIComponent(detail) }
  } catch {
    return { view, detail: undefined }
  }
}

export const place = signal(readPlace())
addEventListener('hashchange', () => {
  place.value = readPlace()
})

export const addressOf = (view: string, detail?: string): string =>
  `#${view}${detail === undefined ? '' : `/${encodeURIComponent(detail)}`}`

export const goTo = (view: string, detail?: string): void => {
  location.hash = addressOf(view, detail)
}
