/** The parts of a release that are texts: CHANGELOG.md, docs/upgrading.md, the chart. */

const HEADING = '## Unreleased'

export interface Release {
  readonly version: string
  /** Day of the release, as in 2026-11-27. */
  readonly date: string
}

/**
 * Moves the entries under Unreleased below the heading of a release. Unreleased is then empty.
 * @param changes texts of the changesets. They become the release's section "Contract".
 */
export const releaseChangelog = (changelog: string, { version, date }: Release, changes: readonly string[]): string => {
  const [before, after, ...others] = changelog.split(`\n${HEADING}\n`)
  if (before === undefined || after === undefined || others.length > 0)
    throw new Error(`CHANGELOG.md must have one heading "${HEADING}"`)
  const end = after.search(/^## /m)
  const entries = (end < 0 ? after : after.slice(0, end)).trim()
  const older = end < 0 ? '' : after.slice(end)
  const texts = changes.map((text) => text.trim()).filter((text) => text !== '')
  if (entries === '' && texts.length === 0) throw new Error(`CHANGELOG.md has no entry under "${HEADING}"`)
  const contract = texts.length === 0 ? [] : [`### Contract\n\n${texts.map(asListItem).join('\n')}`]
  const sections = [HEADING, `## ${version} – ${date}`, ...contract, ...(entries === '' ? [] : [entries])]
  return `${[before.trimEnd(), ...sections, ...(older === '' ? [] : [older.trimEnd()])].join('\n\n')}\n`
}

const asListItem = (text: string): string => `- ${text.replaceAll('\n', '\n  ')}`

/** Names the release in the headings of the upgrade guide, such as "From 0.1.0 to Unreleased". */
export const releaseUpgradeGuide = (guide: string, { version }: Release): string =>
  guide.replaceAll(/^(## From .+ to )Unreleased$/gm, `$1${version}`)

/** Sets the version of the chart and of the images that it starts. */
export const releaseChart = (chart: string, { version }: Release): string =>
  chart.replace(/^version: .*$/m, `version: ${version}`).replace(/^appVersion: .*$/m, `appVersion: '${version}'`)
