/** Stable values of the field `event` in log lines, for alarms and searches. */
export const LOG_EVENTS = {
  listening: 'The ports are open.',
  ready: 'The start is complete.',
  stopping: 'A signal or a failure ends the process. Before the end, the process finishes its work.',
  stopped: 'The process has finished its work and exits with code 0.',
  failed: 'A failure ends the process with exit code 1, or 2 if a setting is wrong.',
  'stop-failed': 'A part of the process failed to stop.',
  setting: 'A setting works, but should be changed.',
  'secrets-changed': 'Files of secrets have changed, and the service uses the new values.',
  'secrets-usable': 'Files of secrets that were wrong are valid again, and have the values that the service uses.',
  'secrets-unusable': 'Files of secrets have changed, but are wrong. The service uses their old values.',
  blocked: 'A person must act before the process can continue.',
  unblocked: 'The problem that a person had to fix is solved.',
  retrying: 'Kafka, Redis, quarantine, the state topic or the erasures topic does not answer; the process retries.',
  recovered: 'An outage is over.',
  'request-refused': 'A request of the sender was refused.',
  'request-failed': 'A request got 500 because of a bug, or 503 because of a damaged hash or a key of a wrong type.',
  revealed: 'An answer of the reader showed personal data. The line names the API key and the customers.',
  'suspicious-event': 'An accepted event will probably never be applied.',
  'record-unacknowledged':
    'kafkajs reported records as sent, but Kafka did not acknowledge them. The service sends the records again.',
  'record-refused': 'Kafka will never accept a record.',
  'spool-damaged': 'A file of the spool is damaged, or has a record that Kafka refuses.',
  'spool-failed': 'The disk of the spool cannot be written or read.',
  'spool-undrained': 'Kafka did not accept all records of the spool. The service retries them.',
  'traces-undelivered': 'The collector of traces does not accept spans, so spans are dropped. Events are not affected.',
  'records-lost': 'Kafka deleted records before they were applied.',
  rewound:
    'Redis does not have the position that this projector stored. The projector continues at the position that ' +
    'Redis has.',
  'state-incomplete': 'The state topic lacks documents of applied events; these events are applied again.',
  'state-repaired':
    'Documents were published for a partition that another projector has now. That projector publishes the current ' +
    'documents.',
  'oldest-records-gone':
    'A partition without a position starts at its oldest record. Customers with older events may be missing.',
  filling: 'Redis has lost its data, and is being filled from the state topic.',
  filled: 'The fill of a partition from the state topic is complete.',
  'unreadable-states':
    'Records of the state topic cannot be read; after the fill, all records of the raw topic are applied.',
  'unusable-states': 'The state topic has records that are not documents. A fill skipped them.',
  drift: 'Events differ from the sender’s documentation, and this difference was not stored before.',
  'dealer-silent': 'A dealer sends no events, although it usually sends events at these hours.',
  'sender-watch-failed':
    'A check of the sender fails: the check for drift, for silent dealers or of the event counts. No event waits for ' +
    'these checks.',
  erased: 'Customers were erased.',
  'erasures-topic-replaced':
    'The erasures topic was created again, so its earlier erasures are gone. Write these erasures again.',
  'erasure-unusable': 'A record of the erasures topic is not an erasure; no customer was erased.',
  'group-joined': 'The projector has joined its consumer group.',
  'consumer-restarts': 'The consumer failed and starts again.',
  'topics-created': 'Missing topics were created.',
} as const
