import { invalid } from './parameters.ts'

type Values = readonly (string | number | null)[]

/**
 * Returns the cursor of a page.
 * @param list the values by which the request selects its list.
 * @param place the place of the page's last entry.
 */
export const writeCursor = (list: Values, place: Values): string =>
  Buffer.from(JSON.stringify([...list, ...place])).toString('base64url')

/**
 * Returns the place in the cursor of a request. A forged cursor with valid content is harmless. The
 * cursor is only a place in a list that the API key may read.
 * @param sameAs parameters that must be the same in all pages, for the message.
 * @throws ProblemError if the cursor is damaged, or belongs to another list.
 */
export const readCursor = <Place extends Values>(
  text: unknown,
  list: Values,
  isPlace: (values: readonly unknown[]) => values is Place,
  sameAs = '',
): Place => {
  try {
    const place = JSON.parse(Buffer.from(String(text), 'base64url').toString()).slice(list.length)
    // The text must be exactly the text that `writeCursor` returns for this list and place.
    if (isPlace(place) && writeCursor(list, place) === text) return place
  } catch {
    // The text is not a cursor.
  }
  throw invalid(`cursor must be the cursor of the previous page${sameAs && `, with the same ${sameAs}`}.`)
}
