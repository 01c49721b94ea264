import { testFaults } from './fault-suite.ts'
import { pressureFaults } from './pressure-faults.ts'

testFaults(pressureFaults)
