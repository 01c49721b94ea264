import { loadSettings } from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'

/** Loads the settings that all `quarantine` commands need. */
export const loadKafkaSettings = () => loadSettings(kafkaSettings, process.env, kafkaRules)
