import { testFaults } from './fault-suite.ts'
import { redisFaults } from './redis-faults.ts'

testFaults(redisFaults)
