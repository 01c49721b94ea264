import { connect } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Returns the sockets at which Docker Desktop, rootless Docker and Docker itself listen. */
const usualSockets = ({ XDG_RUNTIME_DIR }: NodeJS.ProcessEnv): string[] => [
  '/var/run/docker.sock',
  ...(XDG_RUNTIME_DIR ? [join(XDG_RUNTIME_DIR, 'docker.sock')] : []),
  join(homedir(), '.docker/run/docker.sock'),
  join(homedir(), '.docker/desktop/docker.sock'),
]

/** Returns the error code of one attempt to connect, or undefined if the connection is accepted. */
const connectError = (target: { path: string } | { host: string; port: number }): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = connect(target)
    const done = (code?: string) => {
      socket.destroy()
      resolve(code)
    }
    socket.setTimeout(3000, () => done('ETIMEDOUT'))
    socket.once('connect', () => done())
    socket.once('error', ({ code }: NodeJS.ErrnoException) => done(code ?? 'an unknown error'))
  })

const sentenceOf = (place: string, code: string | undefined): string => {
  if (code === undefined) return `${place} accepts connections but does not answer as a container engine`
  if (code === 'EACCES' || code === 'EPERM')
    return (
      `Docker is there, but this user may not use ${place} (${code}); \`sudo usermod -aG docker $USER\` and a new ` +
      'login allow it'
    )
  if (code === 'ECONNREFUSED') return `Docker is installed but does not run: nothing answers at ${place}`
  return `no container engine answers at ${place} (${code})`
}

/**
 * Returns the reason why the engine that DOCKER_HOST names cannot be used. Undefined if the engine
 * accepts connections, or if DOCKER_HOST is not set. Without this check testcontainers would use
 * another engine.
 */
export const whyNotGivenEngine = async ({ DOCKER_HOST: given }: NodeJS.ProcessEnv): Promise<string | undefined> => {
  if (!given) return undefined
  const url = URL.parse(given)
  const target = given.startsWith('unix://')
    ? { path: given.slice('unix://'.length) }
    : url && { host: url.hostname, port: Number(url.port) || 2375 }
  if (!target) return `DOCKER_HOST=${given} is not a URL`
  const code = await connectError(target)
  return code === undefined ? undefined : sentenceOf(`DOCKER_HOST=${given}`, code)
}

/**
 * Returns the reason why no container engine can be used. A missing socket and a socket without
 * permission have different reasons.
 */
export const whyNoEngine = async (
  env: NodeJS.ProcessEnv = process.env,
  sockets = usualSockets(env),
): Promise<string> => {
  const given = env.DOCKER_HOST
  if (given) return (await whyNotGivenEngine(env)) ?? sentenceOf(`DOCKER_HOST=${given}`, undefined)
  for (const path of sockets) {
    const code = await connectError({ path })
    if (code !== 'ENOENT' && code !== 'ENOTDIR') return sentenceOf(path, code)
  }
  return 'no container engine answers'
}
