// A service loads this file before its own code. Until SIGCONT the wall clock of the service jumps
// every 300 ms: an hour ahead, back, an hour behind, back.
const HOUR_MS = 3_600_000
const jumps = [HOUR_MS, 0, -HOUR_MS, 0]
const realNow = Date.now.bind(Date)
const offset = () => jumps[Math.floor(realNow() / 300) % jumps.length] ?? 0
Date.now = () => realNow() + offset()
process.once('SIGCONT', () => {
  Date.now = realNow
})
