-- What wrk sends: the bodies of a file, one a line, one after the other.
local bodies, place, threads = {}, 0, {}
local TICK_MS = 10
local delay_ms = tonumber(os.getenv("LOAD_DELAY_MS") or "0")

function setup(thread) -- once a thread, in the main one
  threads[#threads + 1] = thread
end

function init(args) -- in the thread
  answered, refused, other = 0, 0, 0
  math.randomseed(1)
  for line in io.lines(os.getenv("LOAD_BODIES")) do
    bodies[#bodies + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, line)
  end
end

function request()
  place = place % #bodies + 1
  return bodies[place]
end

if delay_ms > 0 then
  local ffi = require("ffi")
  ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
  local now = ffi.new("moment")
  -- Random, so that the connections do not march in step; but all that are due within
  -- TICK_MS send together. Woken up for each of them, wrk and the server would spend more
  -- on waking up than on the requests.
  function delay()
    ffi.C.clock_gettime(1, now)
    local now_ms = tonumber(now.s) * 1000 + tonumber(now.ns) / 1e6
    local due_ms = now_ms + math.random(0, 2 * delay_ms)
    return math.floor(due_ms / TICK_MS + 0.5) * TICK_MS - math.floor(now_ms)
  end
end

-- WHY not in a flood: with this, wrk keeps each answer and hands it over, and that is
-- taken from the cores that the server is measured on. It counts what is no 2xx itself.
if delay_ms == 0 then
  function response(status)
    if status == 200 then
      answered = answered + 1
    elseif status == 503 then
      refused = refused + 1
    else
      other = other + 1
    end
  end
end

function done(summary, latency, requests)
  local sum = { answered = 0, refused = 0, other = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(sum) do
      sum[name] = sum[name] + thread:get(name)
    end
  end
  local errors = summary.errors
  if delay_ms > 0 then
    sum.refused = errors.status
    sum.answered = summary.requests - errors.status
  end
  io.write(string.format(
    'LOAD {"seconds": %.3f, "answered": %d, "refused": %d, "other": %d, "broken": %d, "p50_ms": %.1f, "p99_ms": %.1f}\n',
    summary.duration / 1e6, sum.answered, sum.refused, sum.other,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
