/**
 * Repeats a duty. In an outage a turn may last: the turns that fall into it are left out, so that neither work nor messages about its failure pile up.
 * @returns what ends the repeating; a turn under way is not waited for.
 */
export const periodically = (intervalMs: number, duty: () => Promise<unknown>, onFailure: (error: Error) => void): (() => void) => {
  let atWork = false
  const timer = setInterval(async () => {
    if (atWork) return
    atWork = true
    await duty().catch(onFailure)
    atWork = false
  }, intervalMs)
  return () => clearInterval(timer)
}
