import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ingressSettings, projectorSettings, readerSettings } from '@customer-stream/configuration'
import { describe, expect, it, onTestFinished } from 'vitest'
import { missing, outcomeOf, read, unknownIn } from './deployment-files.ts'

describe.each(['ingress', 'projector', 'reader'] as const)(
  'deploy/systemd/customer-stream-%s.service',
  { timeout: 60_000 },
  (service) => {
    const unit = read(`deploy/systemd/customer-stream-${service}.service`)
    const all = (name: string) => [...unit.matchAll(new RegExp(`^${name}=(.+)$`, 'gm'))].map(([, value = '']) => value)
    const noSystemd = missing('systemd-analyze', '--version')

    it(`the unit of the ${service} names only settings that exist, and credentials that it loads`, () => {
      const settings = { ingress: ingressSettings, projector: projectorSettings, reader: readerSettings }[service]
      const env = Object.fromEntries(all('Environment').map((assignment) => assignment.split('=')))
      expect(unknownIn({ ...settings, NODE_COMPILE_CACHE: {}, MALLOC_ARENA_MAX: {} }, env)).toEqual([])
      const used = Object.values<string>(env).flatMap((value) => /^%d\/(.+)$/.exec(value)?.[1] ?? [])
      expect(used.toSorted()).toEqual(
        all('LoadCredential')
          .map((credential) => credential.split(':')[0])
          .toSorted(),
      )
    })

    it(`the unit of the ${service} runs the command of npm start`, () => {
      const { scripts } = JSON.parse(read(`services/${service}/package.json`)) as { scripts: { start: string } }
      expect(all('ExecStart')).toEqual([`/usr/bin/env ${scripts.start.split(' exec ')[1]}`])
    })

    it(`npm start, the unit and the image of the ${service} give malloc one arena`, () => {
      const { scripts } = JSON.parse(read(`services/${service}/package.json`)) as { scripts: { start: string } }
      expect(scripts.start).toMatch(/^MALLOC_ARENA_MAX=1 /)
      expect(all('Environment')).toContain('MALLOC_ARENA_MAX=1')
      expect(read('Dockerfile')).toMatch(/^ENV MALLOC_ARENA_MAX=1$/m)
    })

    it(`systemd accepts the unit of the ${service}`, (context) => {
      context.skip(noSystemd !== undefined, noSystemd)
      const folder = mkdtempSync(join(tmpdir(), 'unit-'))
      onTestFinished(() => rmSync(folder, { recursive: true }))
      const file = join(folder, `customer-stream-${service}.service`)
      writeFileSync(file, unit)
      expect(outcomeOf('systemd-analyze', 'verify', '--man=no', file)).toBe('accepted')
    })
  },
)
