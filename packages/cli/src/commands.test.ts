import { readdirSync } from 'node:fs'
import { expect, it, vi } from 'vitest'

const files = ['.', 'quarantine'].flatMap((folder) =>
  readdirSync(new URL(folder, import.meta.url))
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== 'main.ts')
    .map((name) => `${folder}/${name}`),
)

it.each(files)('an import of %s runs no command, and reads no option', { timeout: 30_000 }, async (file) => {
  const exit = vi.spyOn(process, 'exit').mockImplementation((code) => {
    throw new Error(`the import ends the process with ${code}`)
  })
  const write = vi.spyOn(process.stdout, 'write')
  try {
    await import(new URL(file, import.meta.url).href)
    expect(write).not.toHaveBeenCalled()
  } finally {
    exit.mockRestore()
    write.mockRestore()
  }
})
