import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parse } from 'yaml'
import { read, root } from './deployment-files.ts'

describe('Dockerfile', () => {
  /**
   * The instructions of each image, by its name. A line that ends with \\ is joined with the next
   * line.
   */
  const stages = new Map(
    read('Dockerfile')
      .replaceAll(/^#.*\n/gm, '')
      .replaceAll(/\\\n\s*/g, '')
      .split(/^FROM \S+ AS /m)
      .slice(1)
      .map((stage) => [stage.split('\n')[0], stage.split('\n').slice(1)] as const),
  )
  const last = (stage: string, name: string) =>
    stages
      .get(stage)
      ?.findLast((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1) ?? ''

  it.each([
    ['service', 'CMD'],
    ['cli', 'ENTRYPOINT'],
  ])('the image %s starts Node without a shell or npm, as a user without rights, and has labels', (stage, command) => {
    expect(last(stage, 'USER')).toBe('node')
    expect(JSON.parse(last(stage, command))).toEqual(expect.arrayContaining(['node']))
    for (const label of ['title', 'version', 'revision'])
      expect(last(stage, 'LABEL')).toContain(`org.opencontainers.image.${label}="`)
  })

  it.each([
    ['service', 'CMD'],
    ['cli', 'ENTRYPOINT'],
  ])('the build of the image %s fills the compile cache with the same user and flags as a start', (stage, start) => {
    const lines = stages.get(stage) ?? []
    const fill = lines.findIndex((line) => line.startsWith('RUN '))
    const words = (JSON.parse(last(stage, start)) as string[]).join(' ')
    expect(lines[fill]).toContain(words)
    const before = lines.slice(0, fill)
    expect(before).toContain('USER node')
    expect(before.some((line) => line.startsWith('ENV NODE_COMPILE_CACHE='))).toBe(true)
  })

  it('the health check of an image asks /livez, and the health checks of both compose files ask /readyz', () => {
    const check = /HEALTHCHECK .*CMD (\[.+\])/.exec(stages.get('service')?.join('\n') ?? '')?.[1] ?? '[]'
    const words = ['node', '/app/packages/runtime/health-check.js']
    expect(JSON.parse(check)).toEqual([...words, 'livez'])
    for (const [file, names] of [
      ['docker-compose.yml', ['ingress', 'projector', 'reader']],
      ['deploy/compose.production.yml', ['ingress-1', 'ingress-2', 'projector-1', 'projector-2', 'reader']],
    ] as const)
      for (const name of names) {
        const { services } = parse(read(file), { merge: true })
        expect(services[name].healthcheck.test).toEqual(['CMD', ...words, 'readyz'])
      }
    expect(read('.dockerignore')).toContain('\n!packages/runtime/health-check.js\n')
  })

  it.each([
    ['service', ['services/ingress', 'services/projector', 'services/reader']],
    ['cli', ['packages/cli']],
  ])('the image %s has the source code of each package that its program imports', (stage, programs) => {
    const packagesOf = (folder: string): string[] =>
      Object.keys(JSON.parse(read(`${folder}/package.json`)).dependencies)
        .filter((name) => name.startsWith('@customer-stream/'))
        .map((name) => name.replace('@customer-stream/', 'packages/'))
        .flatMap((each) => [each, ...packagesOf(each)])
    const needed = new Set(programs.flatMap(packagesOf))
    const copied = (stages.get(stage) ?? []).flatMap((line) => /^COPY (packages\/\w+) /.exec(line)?.[1] ?? [])
    const sent = [...read('.dockerignore').matchAll(/^!(.+)\/src$/gm)].map(([, folder]) => folder)
    expect(copied).toEqual(expect.arrayContaining([...needed]))
    expect(sent).toEqual(expect.arrayContaining([...needed, ...programs]))
  })
})

it.each([
  ['ADMIN_HOST', '127.0.0.3', { ADMIN_HOST: '127.0.0.3', HOST: '127.0.0.2' }],
  ['HOST', '127.0.0.3', { HOST: '127.0.0.3' }],
  ['HOST for every address', '0.0.0.0', { HOST: '0.0.0.0' }],
  ['no setting', '127.0.0.1', { ADMIN_HOST: '', HOST: '' }],
])('the health check reaches the admin port with %s', async (_, address, env) => {
  const server = createServer(({ url }, response) => response.writeHead(url === '/livez' ? 200 : 503).end())
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  const { port } = server.address() as AddressInfo
  const codeOf = (path: string) =>
    new Promise((resolve) => {
      const check = spawn(process.execPath, ['packages/runtime/health-check.js', path], {
        cwd: root,
        env: { ...env, ADMIN_PORT: String(port) },
      })
      check.on('exit', resolve)
    })
  expect([await codeOf('livez'), await codeOf('readyz')]).toEqual([0, 1])
})
