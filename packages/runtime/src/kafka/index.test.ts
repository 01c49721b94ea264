import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, it } from 'vitest'

const folder = fileURLToPath(new URL('.', import.meta.url))
const files = ['index.ts', 'kafkajs.ts'].map((name) => `${folder}${name}`)
const isOfKafkajs = (type: ts.Type) =>
  [type.symbol, type.aliasSymbol].some((symbol) =>
    symbol?.declarations?.some((declaration) => declaration.getSourceFile().fileName.includes('/kafkajs/')),
  )

const program = ts.createProgram(files, {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ESNext,
  types: ['node'],
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  allowImportingTsExtensions: true,
})

/**
 * Finds types of kafkajs inside the exports of a file in this folder. Returns the path to each
 * found type.
 */
const pathsToKafkajs = (name: string): string[] => {
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(`${folder}${name}`)
  const found: string[] = []
  const seen = new Set<ts.Type>()
  const visit = (type: ts.Type, path: string): void => {
    if (seen.has(type)) return
    seen.add(type)
    if (isOfKafkajs(type)) return void found.push(path)
    const parts = [
      ...(type.isUnionOrIntersection() ? type.types : []),
      ...(type.aliasTypeArguments ?? []),
      ...checker.getTypeArguments(type as ts.TypeReference),
    ]
    for (const part of parts) visit(part, path)
    for (const signature of [...type.getCallSignatures(), ...type.getConstructSignatures()]) {
      visit(signature.getReturnType(), `${path}()`)
      for (const parameter of signature.getParameters())
        visit(checker.getTypeOfSymbol(parameter), `${path}(${parameter.name})`)
    }
    // A type of a library or of Node has no members of kafkajs.
    const isOurs = type.symbol?.declarations?.some((each) => each.getSourceFile().fileName.startsWith(folder))
    if (isOurs)
      for (const property of type.getProperties()) visit(checker.getTypeOfSymbol(property), `${path}.${property.name}`)
  }
  for (const exported of checker.getExportsOfModule(checker.getSymbolAtLocation(source!)!)) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
    if (symbol.flags & ts.SymbolFlags.Value) visit(checker.getTypeOfSymbol(symbol), exported.name)
    if (symbol.flags & ts.SymbolFlags.Type) visit(checker.getDeclaredTypeOfSymbol(symbol), exported.name)
  }
  return found
}

it('index.ts exports no type of kafkajs, not even inside another type', () => {
  expect(pathsToKafkajs('index.ts')).toEqual([])
})

it('the check of index.ts finds an exported type of kafkajs', () => {
  expect(pathsToKafkajs('kafkajs.ts')).toEqual(['kafkajsOf()', 'administratorOf()'])
})
