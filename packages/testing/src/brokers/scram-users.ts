import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { connect } from 'node:net'

const ALTER_USER_SCRAM_CREDENTIALS = 51
/** Kafka's numbers of the mechanisms, with their hash functions. */
const MECHANISMS = {
  'SCRAM-SHA-256': { id: 1, digest: 'sha256', bytes: 32 },
  'SCRAM-SHA-512': { id: 2, digest: 'sha512', bytes: 64 },
}
export type ScramMechanism = keyof typeof MECHANISMS
const ITERATIONS = 4096

const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
/** Encodes bytes, text or an array of length < 127 in Kafka's compact form. */
const compact = (content: Buffer, length = content.length): Buffer => Buffer.concat([Buffer.of(length + 1), content])
const NO_TAGS = Buffer.of(0)

const request = (user: string, password: string, mechanism: ScramMechanism): Buffer => {
  const { id, digest, bytes } = MECHANISMS[mechanism]
  const salt = randomBytes(16)
  const upsertion = Buffer.concat([
    compact(Buffer.from(user)),
    Buffer.of(id),
    int32(ITERATIONS),
    compact(salt),
    compact(pbkdf2Sync(password, salt, ITERATIONS, bytes, digest)),
    NO_TAGS,
  ])
  const header = Buffer.concat([int16(ALTER_USER_SCRAM_CREDENTIALS), int16(0), int32(1), int16(-1), NO_TAGS])
  const message = Buffer.concat([header, compact(Buffer.alloc(0), 0), compact(upsertion, 1), NO_TAGS])
  return Buffer.concat([int32(message.length), message])
}

/**
 * Creates a user for one mechanism, or changes the user's password. kafkajs cannot send this
 * request.
 * @param address host:port of a listener where an anonymous caller may change users.
 */
export const setScramPassword = (
  address: string,
  user: string,
  password: string,
  mechanism: ScramMechanism,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const [host = '', port] = address.split(':')
    const socket = connect(Number(port), host, () => socket.write(request(user, password, mechanism)))
    socket.setTimeout(10_000, () => socket.destroy(new Error(`Kafka at ${address} does not answer`)))
    socket.once('error', reject)
    const received: Buffer[] = []
    socket.on('data', (piece: Buffer) => {
      received.push(piece)
      const answer = Buffer.concat(received)
      if (answer.length < 4 || answer.length < 4 + answer.readInt32BE(0)) return
      socket.destroy()
      // Bytes of the fields before the user: size 4, correlation id 4, tags 1, throttle time 4,
      // results 1. Sum 14. The error code follows the user.
      const userLength = answer.readUInt8(14) - 1
      const code = answer.readInt16BE(15 + userLength)
      if (code === 0) resolve()
      else reject(new Error(`Kafka refuses to set the password of ${user}: error code ${code}`))
    })
  })
