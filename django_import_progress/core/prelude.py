"""The Lua functions that all scripts share."""

from __future__ import annotations

PRELUDE = """
local TERMINAL = {['"done"'] = true, ['"failed"'] = true, ['"cancelled"'] = true}

local function now()
  local t = redis.call('TIME')
  return string.format('%d%06d', t[1], t[2])
end

-- A job: its fields by name, the names in their order, and which of them are to be written.
local function load(key)
  local flat = redis.call('HGETALL', key)
  local job = {names = {}, values = {}, changed = {}}
  for i = 1, #flat, 2 do
    job.names[#job.names + 1] = flat[i]
    job.values[flat[i]] = flat[i + 1]
  end
  job.there = #flat > 0
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
  job.changed[#job.changed + 1] = name
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

local function own(name) return string.sub(name, 1, 1) == '_' end

-- The user's fields as text, and how many bytes they are as JSON, updated_at not counted.
local function join(job)
  local parts, bytes = {}, 1
  for _, name in ipairs(job.names) do
    if not own(name) then
      local part = string.gsub(cjson.encode(name), '\\\\/', '/') .. ':' .. job.values[name]
      parts[#parts + 1] = part
      if name ~= 'updated_at' then bytes = bytes + #part + 1 end
    end
  end
  return table.concat(parts, ','), bytes
end

-- Writes the whole job as one new version. `own_ttl` is '' where none was given.
local function save(key, job, default_ttl, own_ttl)
  if not job.values['_l'] then set(job, '_l', now()) end
  set(job, '_v', string.format('%d', (tonumber(job.values['_v'] or '0') or 0) + 1))
  if own_ttl ~= '' then set(job, '_t', own_ttl) end
  -- In portions: Lua cannot unpack more than some 8,000 values.
  local portion = {}
  for i, name in ipairs(job.changed) do
    portion[#portion + 1] = name
    portion[#portion + 1] = job.values[name]
    if #portion >= 1000 or i == #job.changed then
      redis.call('HSET', key, unpack(portion))
      portion = {}
    end
  end
  redis.call('EXPIRE', key, job.values['_t'] or default_ttl)
end

-- Tells the whole job, and of its bookkeeping what watchers need.
local function tell(channel, job, text)
  local parts = {'"_l":' .. job.values['_l'], '"_v":' .. job.values['_v']}
  if text ~= '' then table.insert(parts, 1, text) end
  for _, name in ipairs({'_d', '_c'}) do
    if job.values[name] then parts[#parts + 1] = '"' .. name .. '":' .. job.values[name] end
  end
  -- Not the worker alone writes: whether its lease is over is to be told by the same clock.
  if job.values['_d'] then parts[#parts + 1] = '"_r":' .. now() end
  redis.call('PUBLISH', channel, '{' .. table.concat(parts, ',') .. '}')
end

-- When the present attempt began: 0 where there is none.
local function begun(job) return tonumber(job.values['_b'] or '0') or 0 end

-- Has the job's worker be believed alive for so long.
local function lease(job, seconds)
  set(job, '_d', string.format('%d', tonumber(now()) + tonumber(seconds) * 1000000))
end

-- Answers the code for success, `extra`, then the user's fields: names and values in turn.
local function answer(job, extra)
  local reply = {0, extra}
  for _, name in ipairs(job.names) do
    if not own(name) then
      reply[#reply + 1] = name
      reply[#reply + 1] = job.values[name]
    end
  end
  return reply
end

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
