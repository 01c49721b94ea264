-- Script for wrk. The argument is a file with a signature, a tab and a body on each line. Prints
-- wrk's summary as one line of JSON.
local requests = {}
local next_request = 0

function init(args)
  for line in io.lines(args[1]) do
    local signature, body = line:match('^([^\t]*)\t(.*)$')
    local headers = {
      ['content-type'] = 'text/plain',
      ['mykaarma-signature-token'] = signature,
      ['x-authorization-token'] = 'desk-token',
    }
    requests[#requests + 1] = wrk.format('POST', nil, headers, body)
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"accepted":%d,"refused":%d,"failed":%d,"perSecond":%.1f,"p50Ms":%.3f,"p99Ms":%.3f}\n',
    summary.requests - errors.status, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
