/**
 * Writes packages/schemas/contract: JSON Schemas, AsyncAPI and OpenAPI (`npm run docs`). A test
 * fails when a file is stale.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openApi as readerOpenApi } from '../services/reader/src/http/openapi/openapi.ts'
import { asyncApi } from './contract/asyncapi.ts'
import { jsonSchemas } from './contract/json-schemas.ts'
import { openApi } from './contract/openapi.ts'

const packageFile = new URL('../packages/schemas/package.json', import.meta.url)
export const contractFolder = fileURLToPath(new URL('../packages/schemas/contract/', import.meta.url))

/** Returns the text of each file, by its name. */
export const contractFiles = (): Readonly<Record<string, string>> => {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }
  const documents = {
    ...jsonSchemas(),
    'asyncapi.json': asyncApi(version),
    'openapi.json': openApi(version),
    'reader-openapi.json': readerOpenApi(version),
  }
  return Object.fromEntries(
    Object.entries(documents).map(([name, document]) => [name, `${JSON.stringify(document, null, 2)}\n`]),
  )
}

if (import.meta.main) {
  mkdirSync(contractFolder, { recursive: true })
  for (const [name, text] of Object.entries(contractFiles())) writeFileSync(contractFolder + name, text)
}
