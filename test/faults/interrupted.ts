// A projector loads this file before its own code. The file sends a signal to its process when the
// process calls a Lua script, or sends records to a topic. INTERRUPTED="<what> <signal> <moment>":
// `what` is the name of the script or topic.
// - SIGKILL is sent at the first such call. With the moment `after` (default), the kernel already
//   has the bytes of the call. So the server does the work, and no process reads the answer. With
//   `before`, no byte reaches the server.
// - SIGSTOP is sent before the next such call after a test has sent SIGWINCH. A projector does not
//   use SIGWINCH for anything else. The process logs a line before the pause.
import { hash } from 'node:crypto'
import { existsSync, readFileSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'

const { env } = process
const [what = '', signal, moment = 'after'] = (env.INTERRUPTED ?? '').split(' ') as [string, NodeJS.Signals, string?]
const script = new URL(`../../services/projector/src/lua/${what}.lua`, import.meta.url)
const isScript = existsSync(script)
const text = isScript ? readFileSync(script, 'utf8') : what
// The first call of a script sends its text. Later calls send its SHA-1.
const names = [text, hash('sha1', text)]
/** Kafka's code of a produce request. In a request, this code is after the length. */
const PRODUCE = 0
/** Place in a request at which the length of the client id begins, in bytes. */
const CLIENT_ID_AT = 12
/**
 * Returns true for a request that stores records. The check of the right to write is a produce
 * request too, but asks for an impossible number of acknowledgements.
 */
const storesRecords = (bytes: Buffer) => {
  if (bytes.readInt16BE(4) !== PRODUCE) return false
  const transactionAt = CLIENT_ID_AT + 2 + Math.max(0, bytes.readInt16BE(CLIENT_ID_AT))
  return bytes.readInt16BE(transactionAt + 2 + Math.max(0, bytes.readInt16BE(transactionAt))) === -1
}
const isMeant = (bytes: unknown) =>
  (isScript || (Buffer.isBuffer(bytes) && storesRecords(bytes))) && names.some((name) => String(bytes).includes(name))
let armed = signal === 'SIGKILL'
process.on('SIGWINCH', () => {
  armed = true
})
const { write } = Socket.prototype
Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof write>) {
  if (armed && isMeant(args[0])) {
    armed = false
    if (signal === 'SIGKILL' && moment === 'after')
      return write.apply(this, [args[0], () => process.kill(process.pid, signal)] as never)
    if (signal === 'SIGSTOP') writeSync(2, 'interrupted with SIGSTOP\n')
    process.kill(process.pid, signal)
  }
  return write.apply(this, args)
} as typeof write
