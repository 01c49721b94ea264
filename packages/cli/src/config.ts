/**
 * `customer-stream config check`: checks the settings of a service with the schema and the rules of
 * that service, without starting it. Connects to nothing.
 */
import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import {
  ingressRules,
  ingressSettings,
  projectorRules,
  projectorSettings,
  readerRules,
  readerSettings,
} from '@customer-stream/configuration'
import {
  certificateExpiries,
  type EffectiveSetting,
  effectiveSettings,
  type Loaded,
  loadSettings,
  type Settings,
  SettingsError,
} from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { COMMANDS, readWords } from './commands.ts'
import { printText } from './output.ts'
import { printable, utc } from './terminal-text.ts'

const SERVICES = {
  ingress: {
    settings: ingressSettings,
    load: (given: NodeJS.ProcessEnv) => loadSettings(ingressSettings, given, ingressRules),
  },
  projector: {
    settings: projectorSettings,
    load: (given: NodeJS.ProcessEnv) => loadSettings(projectorSettings, given, projectorRules),
  },
  reader: {
    settings: readerSettings,
    load: (given: NodeJS.ProcessEnv) => loadSettings(readerSettings, given, readerRules, ingressSettings),
  },
}

const environmentOf = (file: string | undefined): NodeJS.ProcessEnv => {
  try {
    return file === undefined ? process.env : parseEnv(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new Error(`--env-file cannot be read: ${(error as Error).message}`)
  }
}

const line = {
  name: 'config',
  usage: `customer-stream config check SERVICE [--env-file FILE] [--json]

  SERVICE is ingress, projector or reader.
  Shows the settings that the service would use, and all problems at once, such
  as misspelt names. Secrets are not shown. Starts nothing and connects to
  nothing. Warns of expired certificates. Exit code 0 if there is no problem,
  otherwise 1.
  --env-file FILE   read the settings from this file instead of the environment.
                    Each line is NAME=value, in the format of node --env-file
  --json            print one JSON object
  In this repository: npx -- customer-stream config check ingress
  Without the -- after npx, Node itself would read --env-file`,
  options: COMMANDS.config.options,
  words: true,
  read: ({ texts, flags, words }) => {
    const [, chosen] = readWords(COMMANDS.config.words, words)
    return { service: chosen, env: environmentOf(texts['env-file']), isJson: flags.has('json') }
  },
} satisfies CommandLine<unknown>

/**
 * An expired certificate is a warning and not a problem, because a service with an expired
 * certificate still starts and accepts events.
 */
const expiredIn = (settings: Settings, loaded: Loaded<Settings>): readonly string[] =>
  [...certificateExpiries(settings, loaded)].flatMap(([name, end]) =>
    end.getTime() < Date.now() ? [`${name} has a certificate that expired on ${utc(end.getTime())}`] : [],
  )

const check = (service: keyof typeof SERVICES, env: NodeJS.ProcessEnv) => {
  try {
    const { settings, load } = SERVICES[service]
    return { problems: [], warnings: expiredIn(settings, load(env)) }
  } catch (error) {
    if (error instanceof SettingsError) return { problems: error.problems, warnings: [] }
    throw error
  }
}

/** Text for each source of a value. The report lists the settings in the order of their sources. */
const SOURCES = { environment: 'given', file: 'from a file', default: 'default', none: 'not given' } as const

const lineOf = ({ name, value, source }: EffectiveSetting): string =>
  `  ${SOURCES[source].padEnd(13)}${name}${source === 'none' ? '' : `=${value ?? '(hidden)'}`}`

export const run = async (args: readonly string[]): Promise<number> => {
  const { service, env, isJson } = readCommandLine(line, args)
  const { problems, warnings } = check(service, env)
  const effective = effectiveSettings(SERVICES[service].settings, env)
  const lines = Object.keys(SOURCES).flatMap((source) => effective.filter((each) => each.source === source).map(lineOf))
  const result =
    problems.length === 0
      ? [`✔ The ${service} accepts these settings.`, ...warnings.map((warning) => `  ! ${warning}`)]
      : [`✘ The ${service} does not start with these settings:`, ...problems.map((problem) => `  - ${problem}`)]
  if (isJson)
    process.stdout.write(
      `${JSON.stringify({ service, ok: problems.length === 0, problems, warnings, settings: effective })}\n`,
    )
  else printText([...lines, ...result].map(printable).join('\n'))
  return problems.length === 0 ? 0 : 1
}
