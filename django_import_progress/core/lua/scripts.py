"""The Lua scripts: each is one atomic step that writes, sets the expiry and publishes.

Each job is one hash. A field's value is stored as JSON, so a message is made by joining texts:
decoding and encoding would change numbers (Lua's cjson turns 123456789012345 into
1.2345678901234e+14). The names of bookkeeping fields are short, since every job has them:

``_l``  life: when the hash was created, µs by Redis's clock
``_v``  version: how many writes this life has had
``_o``  owner
``_t``  the job's own time to live, seconds
``_a``  attempt: how many workers have taken the job
``_b``  when the current attempt began, µs by Redis's clock: it orders attempts
``_k``  the current attempt's token: only the worker that has it may write as the worker
``_w``  the number of the worker's last write
``_n``  the names of the fields that the current attempt added, including its stage and total
``_d``  when the worker's lease expires, µs by Redis's clock
``_s``  the length of that lease, µs: Redis's clock may have been set back since
``_c``  1: cancellation was requested
``_f``  1: the job was ended because its worker was lost
``_p``  the previous attempt, if it had the job: its token, status (see `core.outcome`) and number,
        and whether it counts as lost since it was taken over
``_x``  the life of a deleted job with this id: its worker must not continue this one
``_q``  nonces of the last commands, newest first: a command that is sent again changes nothing

A message of a whole snapshot has ``_l`` and ``_v``, ``_o`` and ``_c`` if the job has them, and
``_db``: the number of the database, since all databases of a server share their channels. With a
lease it also has ``_d``, ``_s`` and ``_r``: when it was published, µs by Redis's clock.

A message of `publish_update` has ``_m`` instead: life and version of the snapshot on which its
publisher builds, [0, 0] for none. (Its ``_l`` and ``_v`` are 1: a watcher that does not know ``_m``
takes it for a message of an earlier life, and reads the hash.)

A script that writes returns a list: a code, then its results. If `SET` and `UPDATE` succeed they
return only the text of the fields, which is parsed fastest. A script that only reads returns the
current time first: an absent job is no error there.
"""

from __future__ import annotations

import dataclasses
import hashlib

from . import prelude
from .rights import RIGHTS


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and its digest for EVALSHA."""

    text: str
    sha: str


def _script(body: str, shared: str = prelude.PRELUDE) -> Script:
    text = shared + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# The codes that a script returns first.
OK, MISSING, FINISHED, TOO_LARGE, EXISTS, SUPERSEDED, DELETED = range(7)

READ = _script(
    """
-- KEYS: hash, record. Returns the current time as well, since leases are by Redis's clock.
local flat = redis.call('HGETALL', KEYS[1])
return {now(), flat, #flat == 0 and redis.call('GET', KEYS[2]) or ''}
""",
    prelude.CLOCK,
)

CHECK = _script(
    """
-- KEYS: hash and record of each job. ARGV: the known digest of each hash.
-- Returns the current time, then for each job whose digest differs: its position, the digest, the
-- hash, and the record if there is no hash.
local reply = {now()}
for i, known in ipairs(ARGV) do
  local flat = redis.pcall('HGETALL', KEYS[2 * i - 1])
  if flat.err then
    -- A key of another type is not a job, and must not keep the other jobs from being read.
    if not string.find(flat.err, 'WRONGTYPE', 1, true) then return flat end
    flat = {}
  end
  local digest = digest_of(flat)
  if #flat == 0 or digest ~= known then
    local record = #flat == 0 and redis.call('GET', KEYS[2 * i]) or ''
    for _, part in ipairs({i - 1, digest, flat, record}) do reply[#reply + 1] = part end
  end
end
return reply
""",
    prelude.CLOCK + prelude.DIGEST,
)

SET = _script("""
-- ARGV from 7: nonce, fields.
local nonce = ARGV[7]
local old = load(KEYS[1])
if is_repeated(old, nonce) then return reply_of(old, (parts_of(old))) end
local job = {names = {}, values = {}, changed = {}, exists = old.exists, ended = old.ended}
-- A job that has ended restarts: the bookkeeping of the last attempt is dropped. So is an expired
-- lease: whatever writes now has replaced that worker.
local expired = old.ended or is_overdue(old)
local dropped = {_n = old.ended, _c = old.ended, _f = old.ended, _d = expired, _s = expired}
for _, name in ipairs(old.names) do
  if is_bookkeeping(name) and not dropped[name] then set(job, name, old.values[name]) end
end
-- A worker of the attempt that has ended must not write any more.
if old.ended and job.values['_k'] then set(job, '_k', '""') end
set_fields(job, 8)
add_nonce(job, nonce)
-- Saved first: Redis may refuse this (OOM), but not the commands after it, which only free memory.
save(KEYS[1], job)
for _, name in ipairs(old.names) do
  if job.values[name] == nil then redis.call('HDEL', KEYS[1], name) end
end
return reply_of(job, (parts_of(job)))
""")

UPDATE = _script("""
-- ARGV from 7: maximum size, nonce, fields.
local max_bytes, nonce = tonumber(ARGV[7]), ARGV[8]
local job = load(KEYS[1])
if not job.exists then return {1} end
if is_repeated(job, nonce) then return reply_of(job, (parts_of(job))) end
if job.ended then return {2} end
set_fields(job, 9)
add_nonce(job, nonce)
local parts, bytes = parts_of(job)
if bytes > max_bytes then return {3, bytes} end
local overdue = is_overdue(job)
save(KEYS[1], job)
-- Whatever writes now has replaced that worker.
if overdue then drop(KEYS[1], job, {_d = true, _s = true}) end
publish_job(job, parts)
return reply_of(job, parts)
""")

CREATE = _script(
    """
-- ARGV from 11: nonce, fields.
local nonce = ARGV[11]
local job = load(KEYS[1])
if is_repeated(job, nonce) then return {0, entry(job)} end
if job.exists then return {4} end
if owner ~= '' then set(job, '_o', owner) end
set_fields(job, 12)
add_nonce(job, nonce)
save(KEYS[1], job)
enlist(job)
publish_job(job, (parts_of(job)))
return {0, entry(job)}
""",
    prelude.PRELUDE + prelude.ENLISTING,
)

CANCEL = _script("""
-- ARGV from 7: the owner that the job must have, as JSON ('' for any); nonce.
local required_owner, nonce = ARGV[7], ARGV[8]
local job = load(KEYS[1])
if is_repeated(job, nonce) then return {0} end
if not job.exists or (required_owner ~= '' and job.values['_o'] ~= required_owner) then
  return {1}
end
if job.ended then return {2} end
if not job.values['_c'] then
  add_nonce(job, nonce)
  -- No new version: the last write of the worker stays the newest.
  if not job.values['_v'] then save(KEYS[1], job) end
  job.values['_c'] = '1'
  redis.call('HSET', KEYS[1], '_c', '1', '_q', job.values['_q'] or '""')
  local ttl = job.values['_t'] or default_ttl
  if redis.call('TTL', KEYS[1]) < tonumber(ttl) then redis.call('EXPIRE', KEYS[1], ttl) end
  publish_job(job, (parts_of(job)))
end
return {0}
""")

DELETE = _script(
    """
-- KEYS: hash, record, rejected rows. ARGV from 7: nonce.
demand_to_publish()
demand_to_remember()
demand('del', KEYS[1])
demand('del', KEYS[3])
local nonce = ARGV[7]
local flat = redis.call('HMGET', KEYS[1], '_l', '_v', '_o', '_q')
local values = {_l = flat[1] or nil, _v = flat[2] or nil, _o = flat[3] or nil, _q = flat[4] or nil}
local before = read_record()
local life = values['_l'] or before and string.format('%d', before.life) or '0'
if not values['_l'] then  -- No hash, or another program's: this ends every life until now.
  local nonces = before and before.nonces and '"' .. before.nonces .. '"'
  values = {_l = now(), _q = nonces or nil}
end
local job = {names = {}, values = values, changed = {}}
if is_repeated(job, nonce) then return {0, 1} end
if redis.call('DEL', KEYS[1]) == 0 and (not before or before.is_deletion) then return {0, 0} end
redis.call('DEL', KEYS[3])
add_nonce(job, nonce)
write_record('x', values, ended_seconds)
publish(channel, '{"_gone":' .. life .. ',"_db":' .. database .. '}')
return {0, 1}
""",
    prelude.ARGUMENTS + prelude.CLOCK + prelude.PUBLISH + RIGHTS + prelude.RECORD + prelude.NONCES,
)

ADD_REJECTS = _script(
    """
-- KEYS: hash, rejected rows. ARGV: the attempt's token as JSON, how many entries Redis has, the
-- default time to live in seconds, entries. Returns how many entries Redis has then; -1 if the job
-- is not this attempt's.
local token, known, default_ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local job = redis.call('HMGET', KEYS[1], '_k', '_t')
if job[1] ~= token then return -1 end
if redis.call('LINDEX', KEYS[2], 0) ~= token then
  redis.call('DEL', KEYS[2])
  redis.call('RPUSH', KEYS[2], token)
end
if redis.call('LLEN', KEYS[2]) > known then
  redis.call('LTRIM', KEYS[2], 0, known)  -- A command that is sent again.
end
if redis.call('LLEN', KEYS[2]) - 1 == known then
  -- In portions: Lua cannot unpack more than about 8,000 values.
  for i = 4, #ARGV, 1000 do
    redis.call('RPUSH', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
end
redis.call('EXPIRE', KEYS[2], job[2] or default_ttl)
return redis.call('LLEN', KEYS[2]) - 1
""",
    "",
)

READ_REJECTS = _script(
    """
-- KEYS: hash, rejected rows. Returns how many rows were rejected, and the entries of the last
-- attempt.
local job = redis.call('HMGET', KEYS[1], '_k', 'rejected_rows')
local is_current = job[1] and redis.call('LINDEX', KEYS[2], 0) == job[1]
return {job[2] or 'null', is_current and redis.call('LRANGE', KEYS[2], 1, -1) or {}}
""",
    "",
)

PUBLISH_CURRENT = _script(
    """
-- KEYS: hash. ARGV: channel, the message before its mark and after it. The mark is the snapshot
-- that is stored now.
local channel, before_mark, after_mark = ARGV[1], ARGV[2], ARGV[3]
local written = redis.call('HMGET', KEYS[1], '_l', '_v')
local mark = '[' .. (written[1] or '0') .. ',' .. (written[2] or '0') .. ']'
return publish(channel, before_mark .. mark .. after_mark)
""",
    prelude.PUBLISH,
)

ENLIST = _script(
    """
-- KEYS: index. ARGV: job id, life, the job's time to live, length and seconds of the index.
local job_id, life, job_ttl, length, seconds = unpack(ARGV)
enter(KEYS[1], job_id, life, job_ttl, length, seconds)
return {0}
""",
    prelude.LISTING,
)

TAKE_OVER = _script(
    """
-- KEYS: the token of the message responsible for a job. ARGV: the token of a message that was sent,
-- seconds. The newest token is kept.
local token, seconds = ARGV[1], ARGV[2]
if (redis.call('GET', KEYS[1]) or '') < token then
  redis.call('SET', KEYS[1], token, 'EX', seconds)
end
return {0}
""",
    "",
)

BEGIN = _script(
    """
-- A worker takes the job: a new attempt. The job is created if it does not exist. Returns 5 if a
-- newer attempt has taken it since: then this is a repeated command, and changes nothing.
-- ARGV from 11: token as JSON, seconds of the lease, fields.
local token, lease_seconds = ARGV[11], ARGV[12]
local nonce, before = string.sub(token, 2, 9), ''
local job = load(KEYS[1])
if job.values['_k'] ~= token then  -- Otherwise it is a repeated command.
  if is_repeated(job, nonce) then return {5} end
  add_nonce(job, nonce)
  before = table.concat((parts_of(job)), ',')
  set(job, '_p', previous_attempt(job))
  local dropped = added(job)
  dropped['_c'] = job.ended or nil
  drop(KEYS[1], job, dropped)
  if owner ~= '' and not job.values['_o'] then set(job, '_o', owner) end
  local attempt = string.format('%d', (tonumber(job.values['_a'] or '0') or 0) + 1)
  set(job, '_a', attempt)
  -- Later than the previous attempt, even if the clock is another server's, which may be behind.
  set(job, '_b', string.format('%d', math.max(tonumber(now()), attempt_start(job) + 1)))
  set(job, '_k', token)
  set(job, '_w', '0')
  renew_lease(job, lease_seconds)
  set_fields(job, 13)
  set(job, 'attempt', attempt)
  save(KEYS[1], job)
  enlist(job)
  publish_job(job, (parts_of(job)))
end
local bookkeeping = {job.values['_a'], entry(job), job.values['_c'] or '0', job.values['_b']}
return {0, bookkeeping, reply_of(job, (parts_of(job))), job.values['_p'] or '""', before}
""",
    prelude.PRELUDE + prelude.WORKER + prelude.ENLISTING,
)

END_LOST = _script(
    """
-- Ends a job whose worker was lost, if it is still the given attempt's. Returns 1 if it is not, has
-- ended, or the lease has not expired for long enough.
-- ARGV from 7: token as JSON ('' for any), the microseconds for which the lease must have expired,
-- nonce, fields.
local token, lost_after, nonce = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local job = load(KEYS[1])
if not is_repeated(job, nonce) then
  local lease = tonumber(job.values['_d'] or '0')
  if not has_worker(job) or lease == 0 or tonumber(now()) - lease < lost_after
    or token ~= '' and job.values['_k'] ~= token then return {1} end
  set_fields(job, 10)
  set(job, '_f', '1')
  add_nonce(job, nonce)
  save(KEYS[1], job)
  publish_job(job, (parts_of(job)))
end
local bookkeeping = {job.values['_k'], job.values['_a'] or 'null', job.values['_o'] or 'null'}
return {0, bookkeeping, reply_of(job, (parts_of(job)))}
""",
    prelude.PRELUDE + prelude.WORKER,
)

WRITE = _script(
    """
-- A worker writes its progress. Nothing is written if the result is 1: the job does not exist, and
-- may not be created; 2: it has ended; 5: another attempt has taken it; 6: it was deleted.
-- ARGV from 11: token as JSON, seconds of the lease, maximum size, whether the job may be created,
-- number and start of the attempt, number of the write, life, names of added fields as JSON,
-- whether to enter the job into its lists again (an evicted list has lost it), fields.
local token, lease_seconds, max_bytes = ARGV[11], ARGV[12], tonumber(ARGV[13])
local may_create, attempt, start = ARGV[14] == '1', ARGV[15], ARGV[16]
local number, life, added_names, must_enlist = ARGV[17], ARGV[18], ARGV[19], ARGV[20] == '1'
local job = load(KEYS[1])
-- The hash of another program is not a life of the job.
local before = not job.values['_v'] and read_record()
if before and before.life >= tonumber(life) then return {before.is_deletion and 6 or 2} end
if not job.exists and not may_create then return {1} end
if tonumber(job.values['_x'] or '0') >= tonumber(life) then return {6} end
-- After Redis was emptied attempts may be written again in any order, and are numbered from 1: only
-- their starts say which is the newest.
local mine, taken, stored_token = tonumber(start), attempt_start(job), job.values['_k']
if taken > mine or taken == mine and (stored_token or token) ~= token then return {5} end
-- A repeated command, or an older one that arrives late over an abandoned connection.
local written = tonumber(job.values['_w'] or '0')
if stored_token == token and written >= tonumber(number) then
  return {0, job.values['_c'] or '0'}
end
if stored_token and taken < mine then
  drop(KEYS[1], job, added(job))
elseif stored_token and job.ended then
  return {2}
end
if owner ~= '' and not job.values['_o'] then set(job, '_o', owner) end
set(job, '_a', attempt)
set(job, '_b', start)
set(job, '_k', token)
set(job, '_w', number)
-- Bookkeeping takes memory in each job, and most attempts have added nothing.
if added_names ~= '[]' or job.values['_n'] then set(job, '_n', added_names) end
renew_lease(job, lease_seconds)
set_fields(job, 21)
local parts, bytes = parts_of(job)
-- A final status is written whatever the size.
if bytes > max_bytes and not TERMINAL[job.values['status']] then return {3, bytes} end
save(KEYS[1], job)
publish_job(job, parts)
local cancel = job.values['_c'] or '0'
if job.exists and not must_enlist then return {0, cancel} end
enlist(job)
return {0, cancel, entry(job)}
""",
    prelude.PRELUDE + prelude.WORKER + prelude.ENLISTING,
)
