import { brokerFaults } from './broker-faults.ts'
import { testFaults } from './fault-suite.ts'

testFaults(brokerFaults)
