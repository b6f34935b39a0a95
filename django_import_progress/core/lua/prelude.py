"""Lua functions that the scripts share. Redis compiles them with each script."""

from __future__ import annotations

from .rights import RIGHTS

PUBLISH = """
-- A channel that has the name of the key is sharded: see `Keys.channel`.
local function publish(channel, text)
  return redis.call(channel == KEYS[1] and 'SPUBLISH' or 'PUBLISH', channel, text)
end
"""
"""Publishes a message."""

CLOCK = """
local function now()
  local t = redis.call('TIME')
  return string.format('%d%06d', t[1], t[2])
end
"""
"""The current time in microseconds."""

DIGEST = """
local function digest_of(flat) return redis.sha1hex(table.concat(flat, '\\n')) end
"""
"""The digest of a hash, for one server."""

JSON = """
local LITERALS = {['true'] = true, ['false'] = true, ['null'] = true}

-- The grammar of RFC 8259, which is also Python's. cjson accepts more: 007, 0x10, NaN.
local function is_json_number(text)
  local whole, rest = string.match(text, '^%-?(%d+)(.*)$')
  if not whole or #whole > 4000 or (#whole > 1 and string.byte(whole) == 48) then return false end
  if rest == '' then return true end
  if tonumber(text) == math.huge or tonumber(text) == -math.huge then return false end
  return string.find(rest, '^%.%d+$') or string.find(rest, '^%.%d+[eE][+-]?%d+$')
    or string.find(rest, '^[eE][+-]?%d+$')
end

local function is_json_string(text)
  if string.find(text, '^"[^"\\\\%z\\1-\\31]*"$') then return true end
  text = string.gsub(string.gsub(text, '\\\\["\\\\/bfnrt]', ' '), '\\\\u%x%x%x%x', ' ')
  return string.find(text, '^"[^"\\\\%z\\1-\\31]*"$')
end

local function is_json_tree(text)
  if not pcall(cjson.decode, text) then return false end
  text = string.gsub(string.gsub(text, '\\\\["\\\\/bfnrt]', ' '), '\\\\u%x%x%x%x', ' ')
  text = string.gsub(text, '"[^"\\\\%z\\1-\\31]*"', ' ')
  for token in string.gmatch(text, '[^ \\t\\r\\n%[%]{},:]+') do
    if not LITERALS[token] and not is_json_number(token) then return false end
  end
  local depth = 0
  for bracket in string.gmatch(text, '[%[%]{}]') do
    depth = depth + ((bracket == '[' or bracket == '{') and 1 or -1)
    if depth > 100 then return false end
  end
  return true
end

local function looks_like_a_tree(text)
  local tail = string.sub(text, -8)
  return string.find(text, '^%[%s*[%[{"%-%dtfn%]]') and string.find(tail, '%]%s*$')
    or string.find(text, '^{%s*["}]') and string.find(tail, '}%s*$')
end

-- Whether a field's value is JSON. Long arrays and objects are parsed only if this package has not
-- written the hash before.
local function is_json(text, is_foreign)
  local first = string.byte(text)
  if first == 34 then return is_json_string(text) end
  if first == 91 or first == 123 then
    if is_foreign or #text <= 200 then return is_json_tree(text) end
    return looks_like_a_tree(text)
  end
  return LITERALS[text] or is_json_number(text)
end

-- Returns a value that another program wrote as JSON. White space around it is removed, such as the
-- newline that `redis-cli -x` adds; a value that is not JSON becomes a JSON string.
local function to_json(text, is_foreign)
  local first = string.find(text, '[^ \\t\\r\\n]')
  local bare = first and string.match(text, '^.*[^ \\t\\r\\n]', first)
  return bare and is_json(bare, is_foreign) and bare or cjson.encode(text)
end
"""
"""Tells whether a value that another program wrote is JSON, and makes it JSON."""

RECORD = """
-- Reads the record of a job that has ended or was deleted: see `core.outcome`.
local function read_record()
  local text = redis.call('GET', KEYS[2])
  if not text then return nil end
  local life, version, status = string.match(text, '^%[(%d+),(%d+),"(%a)"')
  if not life then return nil end
  local before = {life = tonumber(life), version = version, is_deletion = status == 'x'}
  before.nonces = before.is_deletion and string.match(text, ',"([%w_-]*)"%]$')
  return before
end

local MOST_BYTES = 124

-- Returns a JSON value as a JSON string of at most `bytes`.
local function shortened(value, bytes)
  if not value or value == 'null' or bytes < 8 then return 'null' end
  local is_json, text = pcall(cjson.decode, value)
  if not is_json or type(text) ~= 'string' then text = value end
  text = string.gsub(text, '\\127', '')  -- The placeholder for the job id.
  local whole = string.gsub(cjson.encode(text), '\\\\/', '/')
  -- The most frequent message names the job, whose id is already in the key.
  local from, to = string.find(whole, string.match(KEYS[1], ':hash:(.*)$'), 1, true)
  if from then whole = string.sub(whole, 1, from - 1) .. '\\127' .. string.sub(whole, to + 1) end
  if #whole <= bytes then return whole end
  for size = math.min(#text, bytes), 0, -4 do
    local cut = string.gsub(string.sub(text, 1, size), '[\\192-\\255][\\128-\\191]*$', '')
    local short = string.gsub(cjson.encode(cut .. '\\226\\128\\166'), '\\\\/', '/')
    if #short <= bytes then return short end
  end
  return 'null'
end

local function rows(value)
  return value and #value < 16 and string.match(value, '^%-?%d+%.?%d*$') or 'null'
end

-- Writes the record. `status` is a letter, `values` are the job's fields, `seconds` is the expiry.
local function write_record(status, values, seconds)
  local life, moment = tonumber(values['_l'] or '0'), tonumber(now())
  local function since(value)
    return value and string.format('%d', (tonumber(value) - life) / 1000000) or 'null'
  end
  local parts = {
    values['_l'] or '0', values['_v'] or '0', '"' .. status .. '"', since(moment),
    since(values['_b']), rows(values['processed_rows']), rows(values['total_rows']),
    values['_o'] or 'null',
  }
  local text, rejected = table.concat(parts, ','), rows(values['rejected_rows'])
  rejected = rejected == 'null' and '' or ',' .. rejected
  local error = shortened(values['error_message'], MOST_BYTES - #text - #rejected - 3)
  -- A deletion has no message. The last nonces take its place: the next life needs them.
  local nonces = status == 'x' and string.match(values['_q'] or '', '^"[^"]*')
  if nonces then error = string.sub(nonces, 1, 25) .. '"' end
  redis.call('SET', KEYS[2], '[' .. text .. ',' .. error .. rejected .. ']', 'EX', seconds)
end
"""
"""Reads and writes the record of a job that has ended or was deleted."""

NONCES = """
local function set(job, name, value)
  if job.values[name] == nil then job.names[#job.names + 1] = name end
  job.values[name] = value
  local changed = job.changed
  changed[#changed + 1] = name
  changed[#changed + 1] = value
end

-- Whether this command was executed before: redis-py sends a command again if its reply was lost.
-- Newer commands may have been executed since, and must not be overwritten.
local function is_repeated(job, nonce)
  return nonce ~= '' and string.find(job.values['_q'] or '', nonce, 1, true) ~= nil
end

-- Adds the command's nonce before the previous ones. Redis stores a hash compactly as long as no
-- value has more than 64 bytes, so seven nonces of 8 characters are kept.
local function add_nonce(job, nonce)
  if nonce == '' then return end
  local known = string.match(job.values['_q'] or '', '^"(.*)"$') or ''
  set(job, '_q', '"' .. nonce .. string.sub(known, 1, 48) .. '"')
end
"""
"""Recognizes a command that is sent again after a lost reply."""

ARGUMENTS = """
-- KEYS: hash, record; if the job is entered into lists: index, owner's index (not in a Cluster).
-- ARGV: the manager's time to live, the job's own ('' for none), that of a queued job, how long an
-- outcome outlives its snapshot (all in seconds), the number of the database, the channel.
local default_ttl, own_ttl, queued_ttl, ended_seconds, database, channel = unpack(ARGV, 1, 6)
"""
"""The first arguments of every script that writes."""

PRELUDE = (
    ARGUMENTS
    + CLOCK
    + PUBLISH
    + RIGHTS
    + JSON
    + RECORD
    + NONCES
    + """
local TERMINAL = {['"done"'] = 'd', ['"failed"'] = 'f', ['"cancelled"'] = 'c'}

local function is_bookkeeping(name) return string.byte(name) == 95 end

-- Reads a job: its fields by name, their names in order, and the changes to save: names and values
-- alternately. Invalid JSON of other programs is repaired, in the hash with the next write.
local function load(key)
  local flat = redis.call('HGETALL', key)
  local names, values, count = {}, {}, 0
  for i = 1, #flat, 2 do
    local name = flat[i]
    count = count + 1
    names[count] = name
    values[name] = flat[i + 1]
  end
  local job = {names = names, values = values, changed = {}, exists = count > 0}
  local is_foreign = not values['_v']
  for i = 1, count do
    local name = names[i]
    local value = values[name]
    if not is_json(value, is_foreign) and not is_bookkeeping(name) then
      set(job, name, to_json(value, is_foreign))
    end
  end
  job.ended = TERMINAL[values['status']] ~= nil
  return job
end

-- ARGV from `first`: names and values alternately.
local function set_fields(job, first)
  for i = first, #ARGV, 2 do set(job, ARGV[i], ARGV[i + 1]) end
end

-- Returns the user's fields, each as a part of a JSON object, and their size as JSON in bytes,
-- without updated_at.
local function parts_of(job)
  local parts, count, bytes, names, values, find = {}, 0, 1, job.names, job.values, string.find
  for i = 1, #names do
    local name = names[i]
    local part
    if find(name, '^%a[%w_]*$') then
      part = '"' .. name .. '":' .. values[name]
    elseif not is_bookkeeping(name) then
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

-- Starts a life. It is later than one that has ended or was deleted, even if the clock is another
-- server's. A deleted life is recorded: its worker must not continue this one.
local function begin_life(job)
  demand_to_write()
  local life, before = tonumber(now()), read_record()
  if before then life = math.max(life, before.life + 1) end
  if before and before.is_deletion then
    set(job, '_x', string.format('%d', before.life))
    local nonces = string.match(job.values['_q'] or '', '^"(.*)"$') or ''
    if before.nonces then set(job, '_q', '"' .. nonces .. before.nonces .. '"') end
  end
  set(job, '_l', string.format('%d', life))
end

-- Saves the job as a new version, and writes the record if it has ended.
local function save(key, job)
  if not job.values['_l'] then begin_life(job) end
  set(job, '_v', string.format('%d', (tonumber(job.values['_v'] or '0') or 0) + 1))
  if own_ttl ~= '' then set(job, '_t', own_ttl) end
  -- In portions: Lua cannot unpack more than about 8,000 values.
  local changed = job.changed
  for i = 1, #changed, 1000 do
    redis.call('HSET', key, unpack(changed, i, math.min(i + 999, #changed)))
  end
  local status = job.values['status']
  local ttl = job.values['_t'] or (status == '"queued"' and queued_ttl or default_ttl)
  redis.call('EXPIRE', key, ttl)
  if TERMINAL[status] then
    write_record(TERMINAL[status], job.values, string.format('%d', ttl + ended_seconds))
  else
    redis.call('DEL', KEYS[2])
  end
end

-- Publishes the whole job, with the bookkeeping that watchers need.
local function publish_job(job, parts)
  local values = job.values
  local ours = '"_l":' .. values['_l'] .. ',"_v":' .. values['_v'] .. ',"_db":' .. database
  -- Others write as well: whether the lease has expired is decided by the same clock.
  if values['_d'] then ours = ours .. ',"_d":' .. values['_d'] .. ',"_r":' .. now() end
  if values['_s'] then ours = ours .. ',"_s":' .. values['_s'] end
  if values['_c'] then ours = ours .. ',"_c":' .. values['_c'] end
  if values['_o'] then ours = ours .. ',"_o":' .. values['_o'] end
  local text = table.concat(parts, ',')
  if text ~= '' then ours = text .. ',' .. ours end
  publish(channel, '{' .. ours .. '}')
end

-- Returns the user's fields, life and version as one text, which is parsed at once.
local function reply_of(job, parts)
  parts[#parts + 1] = '"_l":' .. job.values['_l'] .. ',"_v":' .. job.values['_v']
  return table.concat(parts, ',')
end

-- Removes the fields whose names are keys of `removed`, from the hash as well.
local function drop(key, job, removed)
  local kept, dropped = {}, {}
  for _, name in ipairs(job.names) do
    local list = removed[name] and dropped or kept
    list[#list + 1] = name
  end
  job.names = kept
  for _, name in ipairs(dropped) do job.values[name] = nil end
  for i = 1, #dropped, 1000 do
    redis.call('HDEL', key, unpack(dropped, i, math.min(i + 999, #dropped)))
  end
end

-- Whether the worker's lease has expired: see `Stored.stalled`.
local function is_overdue(job)
  if not job.values['_d'] then return false end
  local left = tonumber(job.values['_d']) - tonumber(now())
  return left < 0 or left > 2 * (tonumber(job.values['_s']) or left)
end

demand_to_publish()
demand_to_remember()
"""
)
"""Reads, changes, saves and publishes a job."""

WORKER = """
-- When the current attempt began: 0 if there is none.
local function attempt_start(job) return tonumber(job.values['_b'] or '0') or 0 end

-- Renews the worker's lease.
local function renew_lease(job, seconds)
  local promised = tonumber(seconds) * 1000000
  set(job, '_d', string.format('%d', tonumber(now()) + promised))
  set(job, '_s', string.format('%d', promised))
end

-- Whether a worker has the job: it runs, or has died without ending it.
local IDLE = {['"queued"'] = true, ['"interrupted"'] = true}
local function has_worker(job)
  local token = job.values['_k']
  return token and token ~= '""' and not job.ended and not IDLE[job.values['status']]
end

-- Describes the attempt that another one takes the job from: see `_p`.
local function previous_attempt(job)
  local token = job.values['_k']
  if not token or token == '""' then return '""' end
  local status, is_new = job.values['status'] or '""', '0'
  if has_worker(job) then
    local is_lost = is_overdue(job) or not job.values['_d']
    status, is_new = is_lost and '"lost"' or '"superseded"', is_lost and '1' or '0'
  elseif job.values['_f'] then
    status = '"lost"'
  end
  return '[' .. table.concat({token, status, job.values['_a'] or 'null', is_new}, ',') .. ']'
end

-- The fields that the last attempt added, and their list: the next attempt starts without them.
local function added(job)
  local names = {_n = true, _f = true}
  for _, name in ipairs(cjson.decode(job.values['_n'] or '[]')) do names[name] = true end
  return names
end
"""
"""Used by the scripts of workers."""

LISTING = """
-- Enters a job into an index. The score is the job's life: if that differs, the job of the entry is
-- gone or was recreated. The index outlives its jobs.
local function enter(index, job_id, life, job_ttl, length, seconds)
  redis.call('ZADD', index, life, job_id)
  redis.call('ZREMRANGEBYRANK', index, 0, -tonumber(length) - 1)
  local ttl = math.max(tonumber(job_ttl), tonumber(seconds))
  if redis.call('TTL', index) < ttl then
    redis.call('EXPIRE', index, string.format('%d', ttl))
  end
end
"""
"""Enters a job into one list."""

ENLISTING = (
    LISTING
    + """
-- ARGV from 7: job id, owner as JSON or '', length and seconds of the index.
local job_id, owner, length, seconds = unpack(ARGV, 7, 10)

local function ttl_of(job)
  return job.values['_t'] or default_ttl
end

-- Enters the job into the index of all jobs, and into that of `owner` if that is the job's owner: a
-- job keeps its first owner. In a Cluster no index is passed, since each key may be on another
-- server: ENLIST follows.
local function enlist(job)
  local life = job.values['_l']
  if KEYS[3] then enter(KEYS[3], job_id, life, ttl_of(job), length, seconds) end
  if KEYS[4] and job.values['_o'] == owner then
    enter(KEYS[4], job_id, life, ttl_of(job), length, seconds)
  end
end

-- The arguments for ENLIST: the job's life, its owner and its own time to live, null for none.
local function entry(job)
  return {job.values['_l'], job.values['_o'] or 'null', job.values['_t'] or 'null'}
end
"""
)
"""Enters a job into its lists, in the script that writes it."""
