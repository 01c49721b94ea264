import { hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { damagedFiles, downloadsIn, isWhole, requireJavaAndMaven, writeManifest } from './maven.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'maven-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (name: string, text: string, checksum = hash('sha1', text)) => {
  const file = join(folder, name)
  writeFileSync(file, text)
  writeFileSync(`${file}.sha1`, checksum)
  return file
}

it('a truncated jar and a truncated POM are found by their checksums', async () => {
  const whole = write('whole.jar', 'content')
  const jar = write('cut.jar', 'content')
  const other = write('other.jar', 'content')
  const pom = write('other.pom', '<project/>')
  truncateSync(jar, 3)
  truncateSync(pom, 3)
  expect(await damagedFiles([whole, jar, other])).toEqual([jar, pom])
})

it('a checksum file may also have the name of the jar, and a jar may have no checksum file', async () => {
  const named = write('named.jar', 'content', `${hash('sha1', 'content')}  named.jar\n`)
  const bare = join(folder, 'bare.jar')
  writeFileSync(bare, 'content')
  expect(await damagedFiles([named, bare, ''])).toEqual([])
})

it('a folder is complete only while each file has its recorded size', async () => {
  mkdirSync(join(folder, 'data'))
  const file = join(folder, 'data', 'meta.properties')
  writeFileSync(file, 'version=1')
  expect(await isWhole(folder)).toBe(false)
  await writeManifest(folder)
  expect(await isWhole(folder)).toBe(true)
  truncateSync(file, 4)
  expect(await isWhole(folder)).toBe(false)
  rmSync(file)
  expect(await isWhole(folder)).toBe(false)
  expect(await isWhole(join(folder, 'missing'))).toBe(false)
})

it('downloadsIn adds up the sizes of all downloads in a log of Maven', () => {
  const log = `[INFO] Downloading from central: https://repo.maven.apache.org/maven2/a/a-1.pom
[INFO] Downloaded from central: https://repo.maven.apache.org/maven2/a/a-1.pom (2.5 kB at 13 kB/s)
Downloaded from company-mirror: https://mirror.example/a/a-1.jar (12 MB at 3.4 MB/s)
[INFO] Downloaded from central: https://repo.maven.apache.org/maven2/b/b-1.jar (500 B at 1.0 kB/s)
[INFO] BUILD SUCCESS`
  expect(downloadsIn(log)).toEqual({ files: 3, megabytes: expect.closeTo(12.003, 6) })
  expect(downloadsIn('')).toEqual({ files: 0, megabytes: 0 })
})

it('without Java, Maven and apt-get on the PATH, the error names the missing programs', async () => {
  vi.stubEnv('PATH', '/nowhere')
  onTestFinished(() => void vi.unstubAllEnvs())
  await expect(requireJavaAndMaven(() => {})).rejects.toThrow('install Java 17 or newer and Maven')
})
