"""What must happen at once in Redis, as Lua: Redis runs a script whole or not at all.

RQ's own hash of a job is the only record of a task; our fields stand in it beside RQ's and their names begin with
``ck_``. RQ's status is the only truth about how a task stands, except that ``ck_ending`` (done or cancelled) is
written together with the result, before RQ closes the job: who reads between the two sees the end.

A task waits in one of three places: ``later`` until its time comes (RQ's status ``scheduled``), the waiting set of
RQ's rate limit of its user (``rate_limited``), a queue's list once the user has a free slot (``queued``).
"""

from __future__ import annotations

STATE = """
local function state_of(status, ending)
  if ending and ending ~= '' then return ending end
  if status == 'started' then return 'running' end
  if status == 'finished' then return 'done' end
  if status == 'failed' then return 'failed' end
  if status == 'canceled' or status == 'stopped' then return 'cancelled' end
  return 'queued'
end
"""

_WAIT = """
local function wait_for_slot(job, id)
  local f = redis.call('HMGET', job, 'rate_limit_key', 'rate_limit_concurrency', 'ck_order')
  local limit = 'rq:rl:' .. f[1]
  redis.call('SADD', 'rq:rl-keys', f[1])
  redis.call('HSET', limit, 'concurrency', f[2])
  redis.call('HSET', job, 'status', 'rate_limited')
  redis.call('ZADD', limit .. ':rate_limited', f[3], id)
  return f[1]
end
"""

# KEYS: all, recent, later, schedule keys, what the names of the batches' sets begin with
# ARGV: now, then for each task: id, schedule key, run_at, batch, number of fields and values, these
# Returns for each task the id under which it is kept: another one's, when the schedule key is taken.
SUBMIT = (
    _WAIT
    + """
local kept = {}
local at = 2
while at <= #ARGV do
  local id, schedule_key, batch = ARGV[at], ARGV[at+1], ARGV[at+3]
  local run_at, n = tonumber(ARGV[at+2]), tonumber(ARGV[at+4])
  local job = 'rq:job:' .. id
  local first = schedule_key ~= '' and redis.call('HGET', KEYS[4], schedule_key)
  if first then
    kept[#kept+1] = first
  else
    kept[#kept+1] = id
    -- It exists already when the client asks again because the answer got lost.
    if redis.call('EXISTS', job) == 0 then
      redis.call('HSET', job, unpack(ARGV, at + 5, at + 4 + n))
      redis.call('ZADD', KEYS[1], 0, id)
      redis.call('ZADD', KEYS[2], ARGV[1], id)
      if schedule_key ~= '' then redis.call('HSET', KEYS[4], schedule_key, id) end
      if batch ~= '' then redis.call('SADD', KEYS[5] .. batch, id) end
      if run_at > tonumber(ARGV[1]) then
        redis.call('HSET', job, 'status', 'scheduled')
        redis.call('ZADD', KEYS[3], run_at, id)
      else
        wait_for_slot(job, id)
      end
    end
  end
  at = at + 5 + n
end
return kept
"""
)

# RQ gives a user's free slots in order of arrival and never takes one back; so an urgent task would wait for the same
# user's upkeep. This hands the slot of the least urgent task that nobody runs yet to one that comes before it.
# KEYS: the limit's allowed and waiting sets   ARGV: slots
PREFER = """
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then return 0 end
local best = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if #best == 0 then return 0 end
local last, last_order, last_queue
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local f = redis.call('HMGET', 'rq:job:' .. id, 'status', 'ck_order', 'origin')
  local order = tonumber(f[2])
  if f[1] == 'queued' and order and order > tonumber(best[2]) and (not last or order > last_order) then
    last, last_order, last_queue = id, order, f[3]
  end
end
-- Not in the list: a worker has just taken it.
if not last or redis.call('LREM', 'rq:queue:' .. last_queue, 1, last) == 0 then return 0 end
redis.call('ZREM', KEYS[1], last)
redis.call('HSET', 'rq:job:' .. last, 'status', 'rate_limited')
redis.call('ZADD', KEYS[2], last_order, last)
return 1
"""

# KEYS: later   ARGV: now, at most   Returns the rate limits that have something to hand out now.
DUE = (
    _WAIT
    + """
local limits = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, tonumber(ARGV[2]))) do
  redis.call('ZREM', KEYS[1], id)
  local job = 'rq:job:' .. id
  if redis.call('HGET', job, 'status') == 'scheduled' then limits[#limits+1] = wait_for_slot(job, id) end
end
return limits
"""
)

# KEYS: later, recent   ARGV: id, now   Returns the state before, and the rate limit that has a slot more.
CANCEL = (
    STATE
    + """
local id = ARGV[1]
local job = 'rq:job:' .. id
local f = redis.call('HMGET', job, 'status', 'ck_ending', 'origin', 'rate_limit_key')
if not f[1] then return {} end
local state = state_of(f[1], f[2])
if state ~= 'queued' and state ~= 'running' then return {state, ''} end
redis.call('HSET', job, 'ck_cancel', '1')
if state == 'running' then return {state, ''} end
redis.call('HSET', job, 'status', 'canceled', 'ck_ended', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[2], id)
redis.call('ZREM', KEYS[1], id)
redis.call('LREM', 'rq:queue:' .. f[3], 1, id)
redis.call('ZADD', 'rq:canceled:' .. f[3], ARGV[2], id)
redis.call('ZREM', 'rq:rl:' .. f[4] .. ':rate_limited', id)
redis.call('ZREM', 'rq:rl:' .. f[4] .. ':allowed', id)
return {state, f[4]}
"""
)

# KEYS: recent   ARGV: id, now, retries   Returns the state before, and the rate limit in which it waits.
RETRY = (
    STATE
    + _WAIT
    + """
local id = ARGV[1]
local job = 'rq:job:' .. id
local f = redis.call('HMGET', job, 'status', 'ck_ending', 'origin')
if not f[1] then return {} end
local state = state_of(f[1], f[2])
if state ~= 'failed' and state ~= 'cancelled' then return {state, ''} end
for _, registry in ipairs({'failed', 'canceled', 'finished'}) do
  redis.call('ZREM', 'rq:' .. registry .. ':' .. f[3], id)
end
redis.call('HSET', job, 'retries_left', ARGV[3], 'ck_run_at', ARGV[2], 'started_at', '', 'ended_at', '')
redis.call('HDEL', job, 'ck_ending', 'ck_cancel', 'ck_ended', 'ck_started', 'ck_error', 'ck_result', 'ck_attempts',
  'ck_progress')
redis.call('ZADD', KEYS[1], ARGV[2], id)
return {state, wait_for_slot(job, id)}
"""
)

# Newest first. KEYS: all, the tasks of the batch
# ARGV: where to start, at most, states as ,a,b, (empty = all), user, name, batch
# Returns the ids, and the count of each state among what the other filters match.
PAGE = (
    STATE
    + """
local counts, ids = {}, {}
local limit = tonumber(ARGV[2])
local function look_at(chunk)
  for _, id in ipairs(chunk) do
    local f = redis.call('HMGET', 'rq:job:' .. id, 'status', 'ck_ending', 'ck_user', 'ck_name')
    if f[1] and (ARGV[4] == '' or f[3] == ARGV[4]) and (ARGV[5] == '' or f[4] == ARGV[5]) then
      local state = state_of(f[1], f[2])
      counts[state] = (counts[state] or 0) + 1
      if #ids < limit and (ARGV[1] == '' or id < ARGV[1])
          and (ARGV[3] == '' or string.find(ARGV[3], ',' .. state .. ',', 1, true)) then
        ids[#ids+1] = id
      end
    end
  end
end
if ARGV[6] ~= '' then
  look_at(redis.call('SORT', KEYS[2], 'ALPHA', 'DESC'))
else
  local start = '+'
  repeat
    local chunk = redis.call('ZREVRANGEBYLEX', KEYS[1], start, '-', 'LIMIT', 0, 500)
    look_at(chunk)
    start = chunk[500] and '(' .. chunk[500]
  until not start
end
local pairs_of_counts = {}
for state, count in pairs(counts) do
  pairs_of_counts[#pairs_of_counts+1] = state
  pairs_of_counts[#pairs_of_counts+1] = count
end
return {ids, pairs_of_counts}
"""
)

# RQ takes a task off its list first and notes who runs it later; whoever dies between the two loses it.
# ARGV: id   Returns 1 when it was put back.
PUT_BACK = """
local job = 'rq:job:' .. ARGV[1]
local f = redis.call('HMGET', job, 'status', 'origin')
if f[1] ~= 'queued' then return 0 end
local list = 'rq:queue:' .. f[2]
if redis.call('LPOS', list, ARGV[1]) then return 0 end
redis.call('RPUSH', list, ARGV[1])
return 1
"""

# The first thing that a worker's child does. ARGV: id, now   Returns how it stood: go, or over.
START = """
local job = 'rq:job:' .. ARGV[1]
local f = redis.call('HMGET', job, 'ck_ending', 'ck_cancel')
if f[1] and f[1] ~= '' then return 'over' end
if f[2] == '1' then
  redis.call('HSET', job, 'ck_ending', 'cancelled', 'ck_ended', ARGV[2])
  return 'over'
end
redis.call('HINCRBY', job, 'ck_attempts', 1)
redis.call('HDEL', job, 'ck_progress')
redis.call('HSET', job, 'ck_started', ARGV[2])
return 'go'
"""
