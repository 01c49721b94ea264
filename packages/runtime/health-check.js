// node health-check.js livez: asks the admin port of the service with the settings in the
// environment. Ends with exit code 0 if the answer is 200, otherwise with 1. If the host is 0.0.0.0
// or ::, the request goes to this machine.
import { argv, env, exit } from 'node:process'

const { HOST, ADMIN_HOST, ADMIN_PORT } = env
const host = ADMIN_HOST || HOST || '127.0.0.1'
const url = `http://${host.includes(':') ? `[${host}]` : host}:${ADMIN_PORT || 9464}/${argv[2]}`
const answer = await fetch(url).catch(() => undefined)
exit(answer?.ok ? 0 : 1)
