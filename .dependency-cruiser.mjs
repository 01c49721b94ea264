// Rules of imports (CONTRIBUTING.md). `npm run check` prints the comment of a rule that is broken.
const notIn = (...paths) => ({
  path: '^(packages|services)/',
  pathNot: [...paths, '\\.test\\.ts$', '^packages/testing/'],
})

export default {
  forbidden: [
    { name: 'no-cycles', severity: 'error', comment: 'Data flows one way.', from: {}, to: { circular: true } },
    {
      name: 'no-unresolved',
      severity: 'error',
      comment: 'An import must lead somewhere.',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'declared-dependencies-only',
      severity: 'error',
      comment: 'A package imports only what its own package.json names (tests may use the root tools).',
      from: { path: '^(packages|services)/', pathNot: '\\.test\\.ts$|^packages/testing/src/.*(vitest|reporter)' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-dev'] },
    },
    {
      name: 'services-meet-only-at-the-topic',
      severity: 'error',
      comment: 'A service never imports a service, and no package imports a service.',
      from: { path: '^(packages|services/([^/]+))/', pathNot: '\\.test\\.ts$' },
      to: { path: '^services/', pathNot: '^services/$2/' },
    },
    {
      name: 'schemas-import-typebox-only',
      severity: 'error',
      comment: 'The contract is pure and is published: it drags in nothing else.',
      from: { path: '^packages/schemas/', pathNot: '\\.test\\.ts$' },
      to: { pathNot: '^packages/schemas/|node_modules/@sinclair/typebox/' },
    },
    {
      name: 'subscriber-imports-schemas-and-kafkajs',
      severity: 'error',
      comment: 'The kit is published: it uses the contract and the kafkajs of its caller, without our workarounds.',
      from: { path: '^packages/subscriber/', pathNot: '\\.test\\.ts$|/fixtures/' },
      to: { pathNot: '^packages/(subscriber|schemas)/|node_modules/kafkajs/', dependencyTypesNot: ['core'] },
    },
    {
      name: 'runtime-knows-no-domain',
      severity: 'error',
      comment: 'runtime knows no other package of ours. It uses only the hash that selects a partition.',
      from: { path: '^packages/runtime/', pathNot: '\\.test\\.ts$' },
      to: { path: '^packages/(?!runtime/|schemas/src/partitioner\\.ts$)' },
    },
    {
      name: 'configuration-imports-schemas-and-runtime',
      severity: 'error',
      comment: 'Settings and requirements are data: services and the commands import them, not the other way round.',
      from: { path: '^packages/configuration/', pathNot: '\\.test\\.ts$' },
      to: { path: '^(packages/(?!configuration/|runtime/|schemas/)|services/)' },
    },
    {
      name: 'quarantine-imports-no-program',
      severity: 'error',
      comment: 'The command and the reader import quarantine: it prints nothing, and knows neither of them.',
      from: { path: '^packages/quarantine/', pathNot: '\\.test\\.ts$' },
      to: { path: '^(packages/(?!quarantine/|configuration/|runtime/|schemas/)|services/)' },
    },
    {
      name: 'simulator-stands-alone',
      severity: 'error',
      comment: 'The simulated sender must not share code with what it tests, except the reader of options.',
      from: { path: '^packages/simulator/' },
      to: { path: '^(packages/(?!simulator/|runtime/src/process/command-line\\.ts$)|services/)' },
    },
    {
      name: 'production-does-not-use-the-test-kit',
      severity: 'error',
      comment: 'Services import neither the simulator, nor the judge, nor the test kit.',
      from: { path: '^(services|packages/(schemas|runtime|subscriber))/', pathNot: '\\.test\\.ts$' },
      to: { path: '^packages/(testing|simulator|verify|cli)/' },
    },
    {
      name: 'the-judge-is-no-test',
      severity: 'error',
      comment: 'The judge and the commands run in production: no test kit, no simulator, no projector.',
      from: { path: '^packages/(verify|cli)/', pathNot: '\\.test\\.ts$' },
      to: { path: '^(packages/(testing|simulator)|services)/|node_modules/(vitest|testcontainers)/' },
    },
    {
      name: 'kafkajs-in-one-folder',
      severity: 'error',
      comment:
        'kafkajs is imported in runtime/src/kafka, where its workarounds are, by the kit of subscribers, and by the ' +
        'bare programs of bench.',
      from: {
        pathNot: [
          '^packages/(?:runtime/src/kafka|subscriber)/',
          '^packages/schemas/src/partitioner\\.test\\.ts$',
          '^bench/loads/bare-',
        ],
      },
      to: { path: 'node_modules/kafkajs/' },
    },
    {
      name: 'kafkajs-itself-only-through-the-test-kit',
      severity: 'error',
      comment: 'A test that needs the client of kafkajs gets it from packages/testing. Other code has no use for it.',
      from: { pathNot: '^packages/testing/' },
      to: { path: '^packages/runtime/src/kafka/kafkajs\\.ts$' },
    },
    {
      name: 'ioredis-in-one-folder',
      severity: 'error',
      comment: 'ioredis is imported in runtime/src/redis alone, where the clients are made.',
      from: notIn('^packages/runtime/src/redis/(client|connect-again|sentinel)\\.ts$'),
      to: { path: 'node_modules/ioredis/' },
    },
    {
      name: 'opentelemetry-in-one-file',
      severity: 'error',
      comment: 'A service without traces must not load the libraries of OpenTelemetry.',
      from: { pathNot: '^packages/runtime/src/process/open-telemetry\\.ts$' },
      to: { path: 'node_modules/@opentelemetry/' },
    },
    {
      name: 'opentelemetry-only-if-traces-are-on',
      severity: 'error',
      comment: 'traces.ts loads this file by a dynamic import, if OTEL_EXPORTER_OTLP_ENDPOINT is set.',
      from: { path: '^(packages|services)/' },
      to: { path: '^packages/runtime/src/process/open-telemetry\\.ts$', dynamic: false },
    },
    {
      name: 'the-core-is-pure',
      severity: 'error',
      comment: 'project.ts and webhook-route.ts decide by content alone: no client, no framework, no runtime.',
      from: { path: '^services/.*/(project|webhook-route)\\.ts$' },
      to: { pathNot: '^packages/schemas/' },
    },
    {
      name: 'only-main-wires',
      severity: 'error',
      comment: 'main.ts is where a process begins; nothing imports it.',
      from: { pathNot: '^(services/[^/]+|packages/cli)/start\\.js$' },
      to: { path: '^(services|packages)/.*/main\\.ts$' },
    },
    {
      name: 'nothing-leans-on-what-uses-it',
      severity: 'error',
      comment: 'test, tools and bench use the packages and services, never the other way round.',
      from: { path: '^(packages|services)/' },
      to: { path: '^(test|tools|bench)/' },
    },
    {
      name: 'no-catch-all-folders',
      severity: 'error',
      comment: 'A folder is named after what is in it.',
      from: {},
      to: { path: '/(utils|common|helpers|types|interfaces)/', pathNot: 'node_modules' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '/dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['customer-stream-source', 'import', 'node', 'types', 'default'],
    },
  },
}
