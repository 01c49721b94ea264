/** Experiment: starts WORKERS processes of the ingress on one port with node:cluster. */
import cluster from 'node:cluster'
import { fileURLToPath } from 'node:url'

cluster.setupPrimary({
  exec: fileURLToPath(new URL('../../services/ingress/src/main.ts', import.meta.url)),
  execArgv: ['--max-semi-space-size=8', '--conditions=customer-stream-source'],
})
for (let i = 0; i < Number(process.env.WORKERS); i++) cluster.fork()
process.on('SIGTERM', () => {
  for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM')
  cluster.on('exit', () => Object.keys(cluster.workers ?? {}).length === 0 && process.exit(0))
})
