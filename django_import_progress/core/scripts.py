"""The Lua texts, one an atomic step: each writes, sets the expiry and tells, or does nothing.

Each job is one hash. A field's value is JSON already, so a message is made by joining texts: a
decoded and re-encoded number would come out changed (Lua's cjson makes 123456789012345 into
1.2345678901234e+14). Bookkeeping fields, kept short for every job pays for them:

``_l``  life: when the hash came to be, µs by Redis's clock
``_v``  version: how many writes this life has seen
``_o``  owner
``_t``  the job's own time to live, seconds
``_a``  attempt: how often a worker took the job
``_k``  which worker began the present attempt
``_w``  the number of its last write
``_n``  the names of the fields that the present attempt added

A script answers a list: first a code (see `calls`), then what it has to say.
"""

from __future__ import annotations

import dataclasses
import hashlib


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A Lua text and the digest by which Redis knows it (EVALSHA)."""

    text: str
    sha: str


def _script(body: str) -> Script:
    text = _PRELUDE + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# Codes that a script answers first.
OK, MISSING, FINISHED, TOO_LARGE, EXISTS = range(5)

_PRELUDE = """
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

local function tell(channel, job, text)
  if text ~= '' then text = text .. ',' end
  redis.call('PUBLISH', channel,
    '{' .. text .. '"_l":' .. job.values['_l'] .. ',"_v":' .. job.values['_v'] .. '}')
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

-- What ENLIST needs to know of a job: its life, its owner as JSON, its own time to live or ''.
local function entry(job)
  return {job.values['_l'], job.values['_o'] or 'null', job.values['_t'] or 'null'}
end
"""

SET = _script("""
-- KEYS: hash. ARGV: default ttl, own ttl, fields.
local old = load(KEYS[1])
local job = {names = {}, values = {}, changed = {}}
for _, name in ipairs(old.names) do
  -- A job that has ended begins anew: of its bookkeeping, what belongs to the attempt goes.
  if own(name) and not (old.ended and (name == '_a' or name == '_n')) then
    set(job, name, old.values[name])
  end
end
set_fields(job, 3)
-- Written first: what only frees memory would have to come after what Redis may refuse (OOM).
save(KEYS[1], job, ARGV[1], ARGV[2])
for _, name in ipairs(old.names) do
  if job.values[name] == nil then redis.call('HDEL', KEYS[1], name) end
end
return answer(job, 0)
""")

UPDATE = _script("""
-- KEYS: hash. ARGV: default ttl, own ttl, channel, most bytes, fields.
local job = load(KEYS[1])
if not job.there then return {1} end
if job.ended then return has_fields(job, 5) and answer(job, 0) or {2} end
set_fields(job, 5)
local text, bytes = join(job)
if bytes > tonumber(ARGV[4]) then return {3, bytes} end
save(KEYS[1], job, ARGV[1], ARGV[2])
tell(ARGV[3], job, text)
return answer(job, 0)
""")

CREATE = _script("""
-- KEYS: hash, index, owner's index (in a Cluster only the hash). ARGV: default ttl, own ttl,
-- channel, job id, owner as JSON or '', length and seconds of the index, fields.
local job = load(KEYS[1])
if job.there then
  if has_fields(job, 8) then return {0, entry(job)} end
  return {4}
end
if ARGV[5] ~= '' then set(job, '_o', ARGV[5]) end
set_fields(job, 8)
save(KEYS[1], job, ARGV[1], ARGV[2])
enlist(ARGV[5], ARGV[4], job, ARGV[1], ARGV[6], ARGV[7])
tell(ARGV[3], job, (join(job)))
return {0, entry(job)}
""")

DELETE = _script("""
-- KEYS: hash. ARGV: channel.
local life = redis.call('HGET', KEYS[1], '_l')
if redis.call('DEL', KEYS[1]) == 0 then return {0, 0} end
redis.call('PUBLISH', ARGV[1], '{"_gone":' .. (life or '0') .. '}')
return {0, 1}
""")

ENLIST = _script("""
-- KEYS: index. ARGV: job id, life, the job's time to live, length and seconds of the index.
enter(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return {0}
""")

BEGIN = _script("""
-- A worker takes the job: a new attempt, made where it is not there.
-- KEYS: hash, index, owner's index (in a Cluster only the hash). ARGV: default ttl, own ttl,
-- channel, job id, owner as JSON or '', length and seconds of the index, the worker, fields.
local job = load(KEYS[1])
-- Once more the same: it was done though its answer was lost, or it comes late.
if job.values['_k'] == ARGV[8] then return answer(job, {job.values['_a'], entry(job)}) end
local gone = {_n = true}
for _, name in ipairs(cjson.decode(job.values['_n'] or '[]')) do gone[name] = true end
drop(KEYS[1], job, gone)
if ARGV[5] ~= '' and not job.values['_o'] then set(job, '_o', ARGV[5]) end
local attempt = string.format('%d', (tonumber(job.values['_a'] or '0') or 0) + 1)
set(job, '_a', attempt)
set(job, '_k', ARGV[8])
set(job, '_w', '0')
set_fields(job, 9)
set(job, 'attempt', attempt)
save(KEYS[1], job, ARGV[1], ARGV[2])
enlist(ARGV[5], ARGV[4], job, ARGV[1], ARGV[6], ARGV[7])
tell(ARGV[3], job, (join(job)))
return answer(job, {attempt, entry(job)})
""")

WRITE = _script("""
-- The worker tells how far it is. Answers 1 where the job is gone, unless it may be made again.
-- KEYS: hash, index, owner's index (in a Cluster only the hash). ARGV: default ttl, own ttl,
-- channel, job id, owner as JSON or '', length and seconds of the index, most bytes, may be made
-- again, attempt, the write's number, added names, fields.
local job = load(KEYS[1])
-- An older write that comes late, over a connection that the worker has given up.
local written = tonumber(job.values['_w'] or '0')
if job.values['_a'] == ARGV[10] and written >= tonumber(ARGV[11]) then return {0} end
if not job.there and ARGV[9] ~= '1' then return {1} end
if ARGV[5] ~= '' and not job.values['_o'] then set(job, '_o', ARGV[5]) end
set(job, '_a', ARGV[10])
set(job, '_w', ARGV[11])
set(job, '_n', ARGV[12])
set_fields(job, 13)
local text, bytes = join(job)
-- The end is told whatever had been stored before.
if bytes > tonumber(ARGV[8]) and not TERMINAL[job.values['status']] then return {3, bytes} end
save(KEYS[1], job, ARGV[1], ARGV[2])
tell(ARGV[3], job, text)
if job.there then return {0} end
enlist(ARGV[5], ARGV[4], job, ARGV[1], ARGV[6], ARGV[7])
return {0, entry(job)}
""")
