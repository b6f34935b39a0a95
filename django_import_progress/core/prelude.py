"""The Lua functions that scripts share. Redis makes them anew for each call of a script."""

from __future__ import annotations

PUBLISH = """
-- A channel that has the key's own name is a sharded one: see `Keys.channel`.
local function publish(channel, text)
  redis.call(channel == KEYS[1] and 'SPUBLISH' or 'PUBLISH', channel, text)
end
"""
"""How a message is told."""

CLOCK = """
local function now()
  local t = redis.call('TIME')
  return string.format('%d%06d', t[1], t[2])
end
"""
"""All that a read needs."""

DIGEST = """
local function digest_of(flat) return redis.sha1hex(table.concat(flat, '\\n')) end
"""
"""By what one server knows a hash."""

SHARED_DIGEST = """
-- Where a value is long each server has the fields in an order of its own.
local function digest_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[#fields + 1] = flat[i] .. '\\n' .. flat[i + 1] end
  table.sort(fields)
  return redis.sha1hex(table.concat(fields, '\\n'))
end
"""
"""By what a primary and its replicas know it: it takes half as long again."""

FRESH = """
-- A replica that is cut off goes on to answer, with what it has. A primary pings each ten seconds.
local replication = redis.call('INFO', 'replication')
local silent_seconds = string.match(replication, 'master_last_io_seconds_ago:(%d+)')
if not string.find(replication, 'master_link_status:up', 1, true) or tonumber(silent_seconds) > 15
then return redis.error_reply('STALE The primary was not heard of for long') end
"""
"""What a replica is asked for first: it refuses where it may be far behind, or is none."""

PRELUDE = (
    CLOCK
    + PUBLISH
    + """
local TERMINAL = {['"done"'] = true, ['"failed"'] = true, ['"cancelled"'] = true}

-- A job: its fields by name, the names in their order, and what is to be written: names and values
-- in turn.
local function load(key)
  local flat = redis.call('HGETALL', key)
  local names, values, count = {}, {}, 0
  for i = 1, #flat, 2 do
    local name = flat[i]
    count = count + 1
    names[count] = name
    values[name] = flat[i + 1]
  end
  local job = {names = names, values = values, changed = {}, there = count > 0}
  if job.there and not job.values['_v'] then
    -- Written by hand, and maybe not as JSON: then it is the text that it is.
    for name, value in pairs(job.values) do
      if not pcall(cjson.decode, value) then job.values[name] = cjson.encode(value) end
    end
  end
  job.ended = TERMINAL[job.values['status']] or false
  return job
end

local function set(job, name, value)
  if job.values[name] == nil then job.names[#job.names + 1] = name end
  job.values[name] = value
  local changed = job.changed
  changed[#changed + 1] = name
  changed[#changed + 1] = value
end

-- Whether the job has all that ARGV says from `first` on, the microsecond of `updated_at` included:
-- then this is the same command once more. redis-py sends one again whose answer was lost.
local function has_fields(job, first)
  for i = first, #ARGV, 2 do
    if job.values[ARGV[i]] ~= ARGV[i + 1] then return false end
  end
  return true
end

-- ARGV from `first` on: names and values in turn.
local function set_fields(job, first)
  for i = first, #ARGV, 2 do set(job, ARGV[i], ARGV[i + 1]) end
end

local function own(name) return string.byte(name) == 95 end

-- The user's fields, each as its part of a JSON object, and how many bytes they are as JSON,
-- updated_at not counted.
local function parts_of(job)
  local parts, count, bytes, names, values, find = {}, 0, 1, job.names, job.values, string.find
  for i = 1, #names do
    local name = names[i]
    local part
    if find(name, '^%a[%w_]*$') then
      part = '"' .. name .. '":' .. values[name]
    elseif not own(name) then
      part = string.gsub(cjson.encode(name), '\\\\/', '/') .. ':' .. values[name]
    end
    if part then
      count = count + 1
      parts[count] = part
      if name ~= 'updated_at' then bytes = bytes + #part + 1 end
    end
  end
  return parts, bytes
end

-- Writes the whole job as one new version. `own_ttl` is '' where none was given.
local function save(key, job, default_ttl, own_ttl)
  if not job.values['_l'] then set(job, '_l', now()) end
  set(job, '_v', string.format('%d', (tonumber(job.values['_v'] or '0') or 0) + 1))
  if own_ttl ~= '' then set(job, '_t', own_ttl) end
  -- In portions: Lua cannot unpack more than some 8,000 values.
  local changed = job.changed
  for i = 1, #changed, 1000 do
    redis.call('HSET', key, unpack(changed, i, math.min(i + 999, #changed)))
  end
  redis.call('EXPIRE', key, job.values['_t'] or default_ttl)
end

-- Tells the whole job, and of its bookkeeping what watchers need.
local function tell(channel, job, parts)
  local values = job.values
  local ours = '"_l":' .. values['_l'] .. ',"_v":' .. values['_v']
  -- Not the worker alone writes: whether its lease is over is to be told by the same clock.
  if values['_d'] then ours = ours .. ',"_d":' .. values['_d'] .. ',"_r":' .. now() end
  if values['_c'] then ours = ours .. ',"_c":' .. values['_c'] end
  local text = table.concat(parts, ',')
  if text ~= '' then ours = text .. ',' .. ours end
  publish(channel, '{' .. ours .. '}')
end

-- Answers the user's fields as one text, which is read in one go. A line each: a value that
-- somebody else wrote, and not as JSON, does not spoil the others.
local function answer(parts) return table.concat(parts, ',\\n') end
"""
)
"""What it takes to change a job and tell of it."""

WORKER = """
-- When the present attempt began: 0 where there is none.
local function begun(job) return tonumber(job.values['_b'] or '0') or 0 end

-- Has the job's worker be believed alive for so long.
local function lease(job, seconds)
  set(job, '_d', string.format('%d', tonumber(now()) + tonumber(seconds) * 1000000))
end

-- Removes the fields that are keys of `gone`, from the hash as well.
local function drop(key, job, gone)
  local kept, dropped = {}, {}
  for _, name in ipairs(job.names) do
    local list = gone[name] and dropped or kept
    list[#list + 1] = name
  end
  job.names = kept
  for _, name in ipairs(dropped) do job.values[name] = nil end
  for i = 1, #dropped, 1000 do
    redis.call('HDEL', key, unpack(dropped, i, math.min(i + 999, #dropped)))
  end
end

-- The fields that the last attempt added, and their list itself: the next begins without them.
local function added(job)
  local names = {_n = true}
  for _, name in ipairs(cjson.decode(job.values['_n'] or '[]')) do names[name] = true end
  return names
end
"""
"""What a worker's scripts need besides."""

LISTING = """
-- Enters a job into an index. The score is the life's mark, by which a reader knows an entry whose
-- job is gone or was made anew. The index outlives its jobs.
local function enter(index, job_id, life, job_ttl, length, seconds)
  redis.call('ZADD', index, life, job_id)
  redis.call('ZREMRANGEBYRANK', index, 0, -tonumber(length) - 1)
  local ttl = math.max(tonumber(job_ttl), tonumber(seconds))
  if redis.call('TTL', index) < ttl then
    redis.call('EXPIRE', index, string.format('%d', ttl))
  end
end

-- Enters the job into the index of all jobs, and into that of `owner` (as JSON) if the job is the
-- owner's: it keeps the first it had, whoever is named later. In a Cluster no index is passed, for
-- each key may live on another server: there ENLIST follows.
local function enlist(owner, job_id, job, default_ttl, length, seconds)
  local ttl = job.values['_t'] or default_ttl
  if KEYS[2] then enter(KEYS[2], job_id, job.values['_l'], ttl, length, seconds) end
  if KEYS[3] and job.values['_o'] == owner then
    enter(KEYS[3], job_id, job.values['_l'], ttl, length, seconds)
  end
end

-- What ENLIST needs to know of a job: its life, its owner and its own time to live, null for none.
local function entry(job)
  return {job.values['_l'], job.values['_o'] or 'null', job.values['_t'] or 'null'}
end
"""
"""What it takes to enter a job into its lists."""
