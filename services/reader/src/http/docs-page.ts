/**
 * `GET /docs`: the OpenAPI document as a web page. The page has no script, so it fits the policy of
 * the console.
 */
import { hash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { PAGE_HEADERS } from './console-routes.ts'
import type { openApi } from './openapi/openapi.ts'
import { matchesTag } from './version-text.ts'

export const DOCS_PATH = '/docs'

/** The parts of JSON Schema that the document uses. */
interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly default?: unknown
}

interface Content {
  readonly description?: string
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>
}

interface Operation {
  readonly summary: string
  readonly description?: string
  readonly parameters?: readonly {
    readonly name: string
    readonly in: string
    readonly required?: boolean
    readonly description?: string
    readonly schema: Schema
  }[]
  readonly requestBody?: Content
  readonly responses: Readonly<Record<string, Content>>
}

const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`)

const code = (text: string): string => `<code>${escaped(text)}</code>`

/** Shows text in backticks as code. */
const prose = (text = ''): string => escaped(text).replace(/`([^`]+)`/g, '<code>$1</code>')

const idOf = (text: string): string => text.replace(/\W+/g, '-').replace(/^-|-$/g, '')

const typeOf = (schema: Schema): string => {
  const { $ref, type, enum: values, anyOf, oneOf, allOf, items } = schema
  const names = (each: readonly Schema[]) => each.map(typeOf).join(' or ')
  if ($ref !== undefined) {
    const name = $ref.split('/').at(-1) ?? ''
    return `<a href="#${idOf(name)}">${escaped(name)}</a>`
  }
  if ('const' in schema) return code(JSON.stringify(schema.const))
  if (values) return values.map((value) => code(JSON.stringify(value))).join(', ')
  if (anyOf ?? oneOf) return names(anyOf ?? oneOf ?? [])
  if (allOf) return names(allOf)
  if (items) return `array of ${typeOf(items)}`
  return escaped([type ?? 'any'].flat().join(' or '))
}

/** Returns the objects inside a value: itself, its alternatives, or the items of an array. */
const objectsIn = ({ anyOf, oneOf, items, ...schema }: Schema): readonly (readonly [suffix: string, Schema])[] => {
  if (schema.properties) return [['', schema]]
  if (items) return objectsIn(items).map(([suffix, each]) => [`[]${suffix}`, each])
  return [...(anyOf ?? []), ...(oneOf ?? [])].flatMap(objectsIn)
}

type Row = readonly string[]

/** Returns a row for each member, and for the members inside it. */
const membersOf = (schema: Schema, prefix = ''): readonly Row[] =>
  objectsIn(schema).flatMap(([suffix, { properties = {}, required = [] }]) =>
    Object.entries(properties).flatMap(([name, member]): readonly Row[] => {
      const path = `${prefix}${suffix}${prefix + suffix === '' ? '' : '.'}${name}`
      const standard = member.default === undefined ? '' : ` Default: ${JSON.stringify(member.default)}.`
      const presence = required.includes(name) ? '' : 'Optional. '
      return [
        [code(path), typeOf(member), prose(`${presence}${member.description ?? ''}${standard}`)],
        ...membersOf(member, path),
      ]
    }),
  )

/** Returns '' if there are no rows. The keyboard can scroll a table that has the focus. */
const table = (what: string, owner: string, heads: Row, rows: readonly Row[]): string => {
  if (rows.length === 0) return ''
  const headCells = heads.map((head) => `<th scope="col">${head}</th>`)
  const lines = rows.map(
    ([first, ...rest]) => `<tr><th scope="row">${first}</th>${rest.map((cell) => `<td>${cell}</td>`).join('')}</tr>`,
  )
  return [
    `<h3>${what}</h3><section class="scroll" tabindex="0" aria-label="${what} of ${escaped(owner)}"><table>`,
    `<thead><tr>${headCells.join('')}</tr></thead><tbody>${lines.join('')}</tbody></table></section>`,
  ].join('')
}

const MEMBERS = ['Member', 'Type', 'Description']

const contentOf = ({ content = {} }: Content): string =>
  Object.entries(content)
    .map(([type, { schema }]) => `${code(type)} ${typeOf(schema)}`)
    .join('<br>')

const operationOf = (title: string, operation: Operation): string => {
  const { summary, description, parameters = [], requestBody, responses } = operation
  const inBodies = (each: readonly (Content | undefined)[]) =>
    each.flatMap((body) => Object.values(body?.content ?? {})).flatMap(({ schema }) => membersOf(schema))
  return [
    `<section class="card"><h2 id="${idOf(title)}">${escaped(title)}</h2>`,
    `<p>${prose(summary)} ${prose(description)}</p>`,
    table(
      'Parameters',
      title,
      ['Name', 'In', 'Type', 'Description'],
      parameters.map((each) => [
        code(each.name),
        escaped(each.in),
        typeOf(each.schema),
        prose(`${each.required ? '' : 'Optional. '}${each.description ?? ''}`),
      ]),
    ),
    table('Body', title, MEMBERS, inBodies([requestBody])),
    table(
      'Answers',
      title,
      ['Status', 'Content', 'Description'],
      Object.entries(responses).map(([status, answer]) => [status, contentOf(answer), prose(answer.description)]),
    ),
    table('Members of the answer', title, MEMBERS, inBodies([responses[200]])),
    '</section>',
  ].join('')
}

const schemaOf = (name: string, schema: Schema): string =>
  `<section class="card"><h2 id="${idOf(name)}">${escaped(name)}</h2><p>${prose(schema.description)}</p>` +
  `${table('Members', name, MEMBERS, membersOf(schema))}</section>`

export const docsPage = ({ info, paths, components }: ReturnType<typeof openApi>): string => {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const),
  )
  const schemas = Object.entries(components.schemas) as [string, Schema][]
  const links = [...operations, ...schemas].map(([name]) => `<li><a href="#${idOf(name)}">${escaped(name)}</a></li>`)
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<meta name="color-scheme" content="light dark"><title>${escaped(info.title)}</title>`,
    '<link rel="icon" href="icon.svg" type="image/svg+xml"><link rel="stylesheet" href="console.css"></head><body>',
    '<header class="page"><strong>customer-stream</strong><a href="/">Console</a>',
    '<a href="openapi.json">OpenAPI document</a></header>',
    `<main><h1>${escaped(info.title)} ${escaped(info.version)}</h1><p>${prose(info.description)} `,
    `Send an API key as ${code('Authorization: Bearer KEY')}.</p>`,
    `<nav class="card" aria-label="Contents"><ul>${links.join('')}</ul></nav>`,
    ...operations.map(([title, operation]) => operationOf(title, operation as Operation)),
    ...schemas.map(([name, schema]) => schemaOf(name, schema)),
    '</main></body></html>\n',
  ].join('')
}

export const addDocsRoute = (app: FastifyInstance, document: ReturnType<typeof openApi>): void => {
  const page = docsPage(document)
  const tag = `"${hash('sha256', page)}"`
  app.get(DOCS_PATH, { config: { scope: 'open' } }, async (request, reply) => {
    reply.headers({ ...PAGE_HEADERS, etag: tag })
    if (matchesTag(request.headers['if-none-match'], tag)) return reply.code(304).send()
    return reply.type('text/html; charset=utf-8').send(page)
  })
}
