/** Checks a list of the software in an image (SBOM) against the lock file. */

interface LockedPackage {
  readonly name?: string
  readonly version?: string
  /** Folder of a workspace, if `link` is true. */
  readonly resolved?: string
  readonly link?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

/** The packages of package-lock.json, by folder. */
export type LockedPackages = Readonly<Record<string, LockedPackage>>

/** The fields of a CycloneDX document that the check needs. */
export interface Sbom {
  readonly components: readonly { readonly purl: string }[]
}

const FOLDER = 'node_modules/'

/**
 * Finds the folder from which Node would load `name` in `folder`. Undefined if the package is
 * missing.
 */
const resolveFrom = (packages: LockedPackages, folder: string, name: string): string | undefined => {
  for (let at = folder; ; at = at.slice(0, Math.max(at.lastIndexOf(`/${FOLDER}`), 0))) {
    const candidate = `${at === '' ? '' : `${at}/`}${FOLDER}${name}`
    const found = packages[candidate]
    if (found) return found.link ? found.resolved : candidate
    if (at === '') return undefined
  }
}

/** Returns the packages that a workspace needs at run time, itself included, as `name@version`. */
export const productionPackages = (packages: LockedPackages, workspace: string): string[] => {
  const needed = new Set<string>()
  const add = (folder: string) => {
    if (needed.has(folder)) return
    needed.add(folder)
    const { dependencies, optionalDependencies, peerDependencies } = packages[folder] ?? {}
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
      const found = resolveFrom(packages, folder, name)
      if (found !== undefined) add(found)
      else if (dependencies?.[name]) throw new Error(`package-lock.json lacks ${name}, which ${folder} needs`)
    }
  }
  add(workspace)
  return [...needed].map((folder) => nameOf(packages, folder)).toSorted()
}

const nameOf = (packages: LockedPackages, folder: string): string => {
  const { name = folder.slice(folder.lastIndexOf(FOLDER) + FOLDER.length), version } = packages[folder] ?? {}
  return `${name}@${version}`
}

/** Returns a problem for each package that is missing in the SBOM, or that only the SBOM has. */
export const sbomProblems = (sbom: Sbom, expected: readonly string[]): string[] => {
  const listed = sbom.components.map(({ purl }) => decodeURIComponent(purl.replace(/^pkg:npm\//, '')))
  return [
    ...expected.filter((name) => !listed.includes(name)).map((name) => `the SBOM lacks ${name}`),
    ...listed.filter((name) => !expected.includes(name)).map((name) => `the SBOM has ${name}, the image does not`),
  ]
}
