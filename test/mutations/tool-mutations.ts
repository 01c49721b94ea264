import { brokers, type Mutation, unit } from './mutation.ts'

const folder = 'packages/testing/src'

/** The verifier, the commands and the local brokers. */
export const toolMutations: readonly Mutation[] = [
  {
    rule: 'a redrive sends no event of an erased customer',
    prevents: 'a new copy of the data of an erased customer',
    file: 'packages/quarantine/src/plan.ts',
    from: 'erasure !== undefined && (version === undefined || isErased(erasure, version))',
    to: 'erasure !== undefined && false',
    test: unit('packages/quarantine/src/plan.test.ts', 'a redrive refuses an event that an erasure covers'),
  },
  {
    rule: 'a redrive writes audit entries only for records that Kafka has stored',
    prevents: 'a record that counts as redriven, but is in no raw topic',
    file: 'packages/quarantine/src/group.ts',
    from: 'if (why !== undefined) onRefused(accepted.record, why)',
    to: 'if (why !== undefined) stored.push(accepted)',
    test: unit('packages/quarantine/src/group.test.ts', 'a record that Kafka refuses gets no audit entry'),
  },
  {
    rule: 'a redrive checks new erasures before each group',
    prevents: 'a new copy of a customer who is erased while a redrive runs',
    file: 'packages/quarantine/src/group.ts',
    from: 'recheck ? await recheck(ready) : ready',
    to: 'ready',
    test: unit(
      'packages/quarantine/src/group.test.ts',
      'before a send, a group checks again whether each record may be sent',
    ),
  },
  {
    rule: 'a command ends only after its reader has taken the output',
    prevents: 'output that is cut off, with exit code 0',
    file: 'packages/cli/src/output.ts',
    from: 'const isTaken = await',
    to: 'process.exit(exitCode)\n  const isTaken = await',
    test: unit('packages/cli/src/output.test.ts', 'a program that reads slowly from a pipe gets the whole output'),
  },
  {
    rule: 'a redrive refuses a record that the projector would quarantine again',
    prevents: 'records that return to quarantine after each redrive',
    file: 'packages/quarantine/src/plan.ts',
    from: 'if (!read.ok) return refuse(read.reason)',
    to: `if (!read.ok) return { send: { topic, key, value, timestamp: receivedAt, headers } }`,
    test: unit('packages/quarantine/src/plan.test.ts', 'a redrive refuses a record that would return to quarantine'),
  },
  {
    rule: 'verify compares the marks of erased customers',
    prevents: 'an erased customer who comes back although verify reported no problem',
    file: 'packages/verify/src/compare-with-kafka.ts',
    from: ' ?? compareMark(mark, upTo, exact)',
    to: '',
    test: brokers(
      'test/e2e/erasure.e2e.test.ts',
      'verify finds an erased customer whose mark in Redis is missing, and a second erasure repairs this',
    ),
  },
  {
    rule: 'the verifier excuses an unusable record only if a usable event supersedes it',
    prevents: 'a record that is neither applied nor in quarantine, and no one notices',
    file: 'packages/verify/src/evidence.ts',
    from: '(n.timestamp, n.id) >= (u.timestamp, u.id)',
    to: 'true',
    test: unit(
      'packages/verify/src/evidence.test.ts',
      'an unusable record may be missing in quarantine only if a usable event supersedes it',
    ),
  },
  {
    rule: 'the verifier reports a hash that is newer than all events in Kafka',
    prevents: 'a customer that never gets updates but counts as correct',
    file: 'packages/verify/src/compare-hash.ts',
    from:
      `placeOf(hash._source, comparison) === 'unread' ? 'newer' : ` +
      `wrong('is newer in Redis than any event in Kafka')`,
    to: `'newer'`,
    test: unit(
      'packages/verify/src/compare-hash.test.ts',
      'a newer hash is accepted only if its record exists and was not read yet',
    ),
  },
  {
    rule: 'the verdict reports a record whose copy in quarantine is missing',
    prevents: 'records that are neither applied nor in quarantine',
    file: 'packages/verify/src/print-verdict.ts',
    from: 'verdict.wrongCount + verdict.notQuarantined.count',
    to: 'verdict.wrongCount',
    test: unit('packages/verify/src/print-verdict.test.ts', 'a verdict on an unusable record'),
  },
  {
    rule: 'the verdict counts unusable records by reason',
    prevents: 'lost records that no one notices',
    file: 'packages/verify/src/print-verdict.ts',
    from: `records.unusable, reasons.join(', ')`,
    to: 'records.unusable',
    test: unit('packages/verify/src/print-verdict.test.ts', 'the verdict counts unusable records by reason'),
  },
  {
    rule: 'values in the properties file of Kafka are escaped',
    prevents: 'a demo that fails in a folder with a non-ASCII letter',
    file: `${folder}/brokers/local-kafka.ts`,
    from: `\${name}=\${escaped(value)}`,
    to: `\${name}=\${value}`,
    test: unit(
      `${folder}/brokers/local-kafka.test.ts`,
      'characters that Java would misread in a properties file are escaped',
    ),
  },
  {
    rule: 'an incomplete folder of jars is created again',
    prevents: 'brokers that never start after an interrupted download',
    file: `${folder}/brokers/maven.ts`,
    from: `return isDeepStrictEqual(await sizesIn(folder), JSON.parse(await readFile(join(folder, MANIFEST), 'utf8')))`,
    to: 'return Object.keys(await sizesIn(folder)).length > 0',
    test: unit(`${folder}/brokers/maven.test.ts`, 'a folder is complete only while each file has its recorded size'),
  },
  {
    rule: 'a truncated jar is found',
    prevents: 'brokers that never start because of a damaged cache',
    file: `${folder}/brokers/maven.ts`,
    from: 'return files.filter((_, i) => damaged[i])',
    to: 'return files.filter((_, i) => damaged[i] && false)',
    test: unit(`${folder}/brokers/maven.test.ts`, 'a truncated jar and a truncated POM are found by their checksums'),
  },
  {
    rule: 'a Docker socket without permission is named',
    prevents: 'a hint to install Java for a user who has Docker',
    file: `${folder}/brokers/why-no-engine.ts`,
    from: `if (code === 'EACCES' || code === 'EPERM')`,
    to: 'if (false)',
    test: unit(
      `${folder}/brokers/why-no-engine.test.ts`,
      'a socket that this user may not open is reported with the remedy',
    ),
  },
  {
    rule: 'a command names the server that it cannot reach',
    prevents: 'the error "Connection is closed" without an address',
    file: 'packages/cli/src/with-clients.ts',
    from: 'requireReachable({ KAFKA_BROKERS: settings.KAFKA_BROKERS, ...access?.settings })',
    to: 'Promise.resolve(requireReachable)',
    test: unit('test/commands.test.ts', 'npm run verify names the address'),
  },
  {
    rule: 'a field of the last release must not be removed without a changeset',
    prevents: 'subscribers that break after an upgrade, without a warning',
    file: 'tools/contract/compatibility.ts',
    from: `return type === 'breaking' || action !== 'add' ||`,
    to: `return type === 'breaking' ||`,
    test: unit('test/contract-compatibility.test.ts', 'a contract change is breaking: a removed field'),
  },
  {
    rule: 'a wait ends at once if the command was interrupted before the wait',
    prevents: 'a demo that Ctrl-C cannot end',
    file: 'packages/cli/src/interruption.ts',
    from: `arrived: new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),`,
    to: `get arrived() {
    return new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  },`,
    test: unit(
      'packages/cli/src/interruption.test.ts',
      'a wait ends at once if the command was interrupted before the wait',
    ),
  },
  {
    rule: 'an interrupted demo removes its files',
    prevents: 'megabytes on the disk after each demo',
    file: 'tools/demo.ts',
    from: 'if (isSound || signal.aborted) await rm(',
    to: 'if (isSound) await rm(',
    test: brokers('test/e2e/demo.e2e.test.ts', 'a demo interrupted during its verdict'),
  },
  {
    rule: 'the ports of docker-compose.yml are open only to this machine',
    prevents: 'requests of strangers, who know the secret from this repository',
    file: 'docker-compose.yml',
    from: `\${HOST_ADDRESS:-127.0.0.1}:\${HOST_INGRESS_PORT`,
    to: `\${HOST_ADDRESS:-0.0.0.0}:\${HOST_INGRESS_PORT`,
    test: unit('test/documentation.test.ts', 'opens each port only to this machine'),
  },
  {
    rule: 'the table of settings hides the values of secrets',
    prevents: 'a password in the output of config check',
    file: 'packages/runtime/src/process/settings.ts',
    from: '...(!isSecret && { value })',
    to: 'value',
    test: unit('test/customer-stream.test.ts', 'config check names all problems in one run, and shows no secret'),
  },
  {
    rule: 'a printed correction has the value that the services demand',
    prevents: 'a printed command that sets a value that the services refuse',
    file: 'packages/runtime/src/kafka/topic-rules.ts',
    from: 'requiredConfig(settings, demand)[name',
    to: `({ ...requiredConfig(settings, demand), 'retention.ms': '1' } as Record<string, string>)[name`,
    test: unit(
      'packages/runtime/src/kafka/topic-check.test.ts',
      'inspectTopics names the setting and the value that correct a problem',
    ),
  },
]
