/**
 * Settings of a process. Each setting is a TypeBox schema with a description, and is read from one
 * environment variable. All problems are reported together, including misspelt names.
 * docs/configuration.md is generated from the schemas.
 */
import { readFileSync } from 'node:fs'
import { type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { misspelt } from './misspelt-settings.ts'
import { quoted } from './quoted.ts'
import type { Loaded, Settings, Shown } from './setting-kinds.ts'

/** Error with all problems of the settings, one line for each problem. */
export class SettingsError extends Error {
  /** Each problem as one sentence or more, without secrets. */
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? 'One setting is wrong' : `${problems.length} settings are wrong`
    const shown = problems.map(oneLine)
    super([`${count}:`, ...shown.map((problem) => `  - ${problem}`)].join('\n'))
    this.name = 'SettingsError'
    this.problems = shown
  }
}

const convert = (schema: TSchema, value: string): unknown => {
  if (schema.type === 'integer') return /^-?\d+$/.test(value) ? Number(value) : value
  if (schema.type === 'number') return /^(?:\d+\.?\d*|\.\d+)$/.test(value) ? Number(value) : value
  if (schema.type === 'boolean') return value === 'true' ? true : value === 'false' ? false : value
  return value
}

const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u
const CONTROL_IN_LINES = /[^\P{Cc}\t\r\n]/u

/** Returns the problem as one line. Escapes control characters, which a terminal would obey. */
const oneLine = (problem: string): string =>
  problem.replaceAll(new RegExp(CONTROL, 'gu'), (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)

const decode = (schema: TSchema, value: string): unknown => {
  const converted = convert(schema, value)
  const problem = Value.Errors(schema, converted).First()
  const shown = schema.secret ? 'the value' : quoted(value)
  if ((schema.lines ? CONTROL_IN_LINES : CONTROL).test(value)) throw new Error(`${shown} has a control character`)
  if (problem) {
    if (schema.maxLength !== undefined && value.length > schema.maxLength)
      throw new Error(`${shown} is too long; expected at most ${schema.maxLength} characters`)
    throw new Error(`${shown} is not accepted; expected ${(schema as TSchema & Shown).shown.replaceAll('`', '')}`)
  }
  try {
    return Value.Decode(schema, converted)
  } catch (error) {
    throw (error as { error?: Error }).error ?? error
  }
}

const textOf = (name: string, schema: TSchema, env: NodeJS.ProcessEnv): string | undefined => {
  const file = env[`${name}_FILE`]
  if (!schema.secret || file === undefined) return env[name] === '' ? undefined : env[name]
  if (env[name]) throw new Error(`is given twice, as ${name} and as ${name}_FILE`)
  let content: string
  try {
    content = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new Error(`cannot be read from ${name}_FILE: ${(error as Error).message}`)
  }
  if (content === '') throw new Error(`the file that ${name}_FILE names is empty: ${quoted(file)}`)
  return content
}

/** Checks several settings together. Returns a sentence about the problem, or undefined. */
export type Rule<S extends Settings> = (settings: Loaded<S>) => string | undefined

/** Thrown if a rule reads a setting whose own problem is already reported. */
const isWrong = Symbol('wrong setting')

export interface BrokenRule {
  readonly problem: string
  /** Settings that the rule has read. */
  readonly names: ReadonlySet<PropertyKey>
}

/**
 * Returns the problems that the rules find.
 * @param wrong settings without a value. A rule that reads one of these settings is skipped.
 */
export const brokenRules = <S extends Settings>(
  rules: readonly Rule<S>[],
  loaded: Loaded<S>,
  wrong: ReadonlySet<PropertyKey> = new Set(),
): readonly BrokenRule[] =>
  rules.flatMap((rule) => {
    const names = new Set<PropertyKey>()
    const readable = new Proxy(loaded, {
      get: (target, name) => {
        if (wrong.has(name)) throw isWrong
        names.add(name)
        return Reflect.get(target, name)
      },
    })
    try {
      const problem = rule(readable)
      return problem === undefined ? [] : [{ problem, names }]
    } catch (error) {
      if (error !== isWrong) throw error
      return []
    }
  })

/**
 * Reads and checks all settings.
 * @param rules functions that check several settings together. A rule that reads a wrong setting is
 *   skipped.
 * @param others settings of other services that may be in the same environment. This function does
 *   not read them.
 * @throws SettingsError with all problems.
 */
export const loadSettings = <S extends Settings>(
  settings: S,
  env: NodeJS.ProcessEnv,
  rules: readonly Rule<NoInfer<S>>[] = [],
  others: Settings = {},
): Loaded<S> => {
  const problems = misspelt(settings, env, others)
  const wrong = new Set<PropertyKey>()
  const loaded: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries(settings)) {
    try {
      const value = textOf(name, schema, env) ?? (schema.default === undefined ? undefined : String(schema.default))
      if (value !== undefined) loaded[name] = decode(schema, value)
      else if (!isOptional(schema)) {
        wrong.add(name)
        problems.push(`${name} is missing: ${schema.description}`)
      }
    } catch (error) {
      wrong.add(name)
      problems.push(`${name}: ${(error as Error).message}`)
    }
  }
  problems.push(...brokenRules(rules, loaded as Loaded<S>, wrong).map(({ problem }) => problem))
  if (problems.length > 0) throw new SettingsError(problems)
  return loaded as Loaded<S>
}

const isOptional = (schema: TSchema): boolean => Type.Object({ schema }).required === undefined

/** The value that a process would use for a setting, and where the value is from. */
export interface EffectiveSetting {
  readonly name: string
  /** Undefined if the setting has no value, or if the value is a secret. */
  readonly value?: string
  readonly isSecret: boolean
  /** `file`: the variable NAME_FILE names a file that has the value. */
  readonly source: 'environment' | 'file' | 'default' | 'none'
}

/** Hides the password of an address such as `https://user:password@host`. */
const withoutLogin = (value: string): string => value.replace(/:\S*@/, ':…@')

/** Returns each setting with its value. Reads no file, and does not check the values. */
export const effectiveSettings = (settings: Settings, env: NodeJS.ProcessEnv): EffectiveSetting[] =>
  Object.entries(settings).map(([name, schema]) => {
    const isSecret = schema.secret === true
    if (isSecret && env[`${name}_FILE`] !== undefined) return { name, isSecret, source: 'file' }
    const isGiven = env[name] !== undefined && env[name] !== ''
    const value = withoutLogin((isGiven ? env[name] : undefined) ?? String(schema.default ?? ''))
    if (value === '') return { name, isSecret, source: 'none' }
    return { name, isSecret, source: isGiven ? 'environment' : 'default', ...(!isSecret && { value }) }
  })

/** Returns the settings as rows of a Markdown table. */
export const describeSettings = (settings: Settings): string =>
  [
    '| setting | values | default | what it does |',
    '| --- | --- | --- | --- |',
    ...Object.entries(settings).map(([name, schema]) => {
      const standard =
        schema.default === '' || isOptional(schema)
          ? 'none'
          : schema.default === undefined
            ? '**required**'
            : `\`${schema.default}\``
      const file = schema.secret ? ` Also as \`${name}_FILE\`.` : ''
      return `| \`${name}\` | ${(schema as TSchema & Shown).shown} | ${standard} | ${schema.description}${file} |`
    }),
  ].join('\n')
