/** The table of alerts: which fault fires which alert. */
import type { Cause } from './cause.ts'
import {
  certificateCause,
  fewerPartitionsCause,
  frozenProjectorCause,
  fullRedisCause,
  lostRedisCause,
  missingCause,
  outageCauses,
  silentDealerCause,
  silentSenderCause,
  slowCauses,
  topicCause,
} from './pipeline-causes.ts'
import { requestCauses } from './request-causes.ts'
import { spoolCause } from './spool-causes.ts'

/** The faults of one round are injected at the same time, because they do not affect each other. */
export const rounds: Readonly<Record<string, readonly Cause[]>> = {
  'requests, a record and a certificate': [...requestCauses, certificateCause],
  'slow networks': slowCauses,
  outages: outageCauses,
  'Redis without memory': [fullRedisCause],
  'wrong topics': [topicCause],
  'no process': [missingCause],
  'a lost Redis': [lostRedisCause],
  'lost partitions': [frozenProjectorCause, fewerPartitionsCause],
  spool: [spoolCause],
  'a silent dealer': [silentDealerCause],
  silence: [silentSenderCause],
}

/** Alerts that no round fires, each with the reason. */
export const notCaused: Readonly<Record<string, string>> = {}
