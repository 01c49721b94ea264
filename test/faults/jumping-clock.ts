// Loaded into a service before its own code: until SIGCONT its wall clock jumps an hour ahead, back, an hour behind, and back, every 300 ms.
const HOUR_MS = 3_600_000
const jumps = [HOUR_MS, 0, -HOUR_MS, 0]
const realNow = Date.now.bind(Date)
const offset = () => jumps[Math.floor(realNow() / 300) % jumps.length] ?? 0
Date.now = () => realNow() + offset()
process.once('SIGCONT', () => {
  Date.now = realNow
})
