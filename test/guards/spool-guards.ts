import { type Guard, unit } from './guard.ts'

const folder = 'services/ingress/src'
const spool = (title: string) => unit(`${folder}/spool/spool.test.ts`, title)
const spooledPublish = (title: string) => unit(`${folder}/spooled-publish.test.ts`, title)

export const spoolGuards: readonly Guard[] = [
  {
    guard: 'the spool promises only what fsync has put on disk',
    prevents: 'promises lost with the power',
    file: `${folder}/spool/segment.ts`,
    from: 'await file.datasync()',
    to: '',
    test: spool('promises nothing before the file, and for a new one the directory'),
  },
  {
    guard: 'the spool syncs the directory of a new file',
    prevents: 'a whole file of promises lost with the power',
    file: `${folder}/spool/segment.ts`,
    from: 'if (isNew) await syncDirectory(directory)',
    to: '',
    test: spool('promises nothing before the file, and for a new one the directory'),
  },
  {
    guard: 'a disk that fails ends in no promise',
    prevents: 'a 202 for what could not be written',
    file: `${folder}/spool/appender.ts`,
    from: 'failure ? reject(failure.error) : resolve()',
    to: 'resolve()',
    test: spool('promises nothing when datasync fails'),
  },
  {
    guard: 'frames in the spool carry a checksum',
    prevents: 'damaged bytes sent to Kafka as if they were what was signed',
    file: `${folder}/spool/format.ts`,
    from: ' || crc32(bytes.subarray(at + 8, end)) !== bytes.readUInt32LE(at + 4)',
    to: '',
    test: spool('with any bit flipped gives all other records'),
  },
  {
    guard: 'a torn tail of the spool is told from damage',
    prevents: 'an alarm, and a file set aside, after every crash',
    file: `${folder}/spool/format.ts`,
    from: 'end === bytes.length && isTorn(bytes.subarray(at), marker)',
    to: 'false',
    test: spool('cut at any byte gives exactly the records'),
  },
  {
    guard: 'the marker of frames is random',
    prevents: 'a sender that forges records by hiding frames in a body',
    file: `${folder}/spool/format.ts`,
    from: 'randomBytes(MARKER_BYTES)',
    to: `Buffer.from('CSFR')`,
    test: spool('never gives a record that a sender has hidden'),
  },
  {
    guard: 'one process at a time uses a spool',
    prevents: 'two processes writing one file',
    file: `${folder}/spool/spool.ts`,
    from: 'lockDirectory(directory)',
    to: '() => undefined',
    test: spool('lets one process at a time use a directory'),
  },
  {
    guard: 'what is spooled comes before what arrives later',
    prevents: 'records overtaking each other at the end of an outage',
    file: `${folder}/spooled-publish.ts`,
    from: 'if (spool.size.records > (kafkaTakes',
    to: 'if (spool.size.records < -(kafkaTakes',
    test: spooledPublish('goes to the disk at once while that holds earlier records'),
  },
  {
    guard: 'a disk that hangs holds up no answer',
    prevents: 'a request without an answer',
    file: `${folder}/spooled-publish.ts`,
    from: 'await within(spool.append(record), deadlineAt)',
    to: 'await spool.append(record)',
    test: spooledPublish('answers by the deadline though the disk hangs'),
  },
  {
    guard: 'a damaged file of the spool is set aside',
    prevents: 'a promise thrown away that a person could still read',
    file: `${folder}/spool/directory.ts`,
    from: '(damaged ? rename(',
    to: '(false ? rename(',
    test: spool('keeps a damaged file for people'),
  },
  {
    guard: 'the spool is bounded',
    prevents: 'a disk that runs full',
    file: `${folder}/spool/appender.ts`,
    from: 'files.bytes + waitingBytes + bytes > maxBytes',
    to: 'false',
    test: spool('takes again when room has been freed'),
  },
]
