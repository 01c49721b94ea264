import { testFaults } from './fault-suite.ts'
import { serviceFaults } from './service-faults.ts'

testFaults(serviceFaults)
