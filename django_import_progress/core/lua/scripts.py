"""The Lua texts, one an atomic step: each writes, sets the expiry and publishes, or does nothing.

Each job is one hash. A field's value is JSON already, so a message is made by joining texts: a
decoded and re-encoded number would come out changed (Lua's cjson makes 123456789012345 into
1.2345678901234e+14). Bookkeeping fields, kept short for every job pays for them:

``_l``  life: when the hash was created, µs by Redis's clock
``_v``  version: how many writes this life has seen
``_o``  owner
``_t``  the job's own time to live, seconds
``_a``  attempt: how often a worker took the job
``_b``  when the present attempt began, µs by Redis's clock: it orders attempts
``_k``  the present attempt's token: whoever writes as the worker must know it
``_w``  the number of its last write
``_n``  the names of the fields that the present attempt added, its stage and total among them
``_d``  until when its worker is believed alive, µs by Redis's clock
``_s``  how long that was, µs: Redis's clock may have been set back since
``_c``  1: cancellation was requested
``_x``  the life of a deleted job of this id: its worker must not continue this one
``_q``  nonces of the last commands, the newest first: one that is sent again changes nothing

A message of a whole snapshot has ``_l``, ``_v``, and ``_o`` and ``_c`` where there are any, and
``_db``: the number of the database, since channels are shared by all databases of a server. Where
there is a lease it has ``_d``, ``_s`` and ``_r``: when it was published, µs by Redis's clock.

A message of `publish_update` has ``_m`` in their place: life and version of the snapshot on which
its publisher builds, [0, 0] for none. (Its ``_l`` and ``_v`` are 1: a watcher that does not know
``_m`` takes it for a message of an earlier life, and reads the hash.)

A script that writes answers a list: first a code (see `calls`), then what it has to say. `SET` and
`UPDATE` answer only the text of the fields where all is well, which is read fastest; what only
reads answers the present moment first, for there a job that is absent is no error.
"""

from __future__ import annotations

import dataclasses
import hashlib

from .prelude import (
    ARGUMENTS,
    CLOCK,
    DIGEST,
    ENLISTING,
    LISTING,
    NONCES,
    PRELUDE,
    PUBLISH,
    RECORD,
    WORKER,
)
from .rights import RIGHTS


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A Lua text and the digest by which Redis knows it (EVALSHA)."""

    text: str
    sha: str


def _script(body: str, shared: str = PRELUDE) -> Script:
    text = shared + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# Codes that a script answers first.
OK, MISSING, FINISHED, TOO_LARGE, EXISTS, SUPERSEDED, DELETED = range(7)

READ = _script(
    """
-- KEYS: hash, record. Answers the present moment as well: a lease is by Redis's clock.
local flat = redis.call('HGETALL', KEYS[1])
return {now(), flat, #flat == 0 and redis.call('GET', KEYS[2]) or ''}
""",
    CLOCK,
)

CHECK = _script(
    """
-- KEYS: of each job its hash and its record. ARGV: of each the digest by which its hash is known.
-- Answers the present moment, and of each that has another one: its place, the digest, the hash,
-- and the record where there is no hash.
local reply = {now()}
for i, known in ipairs(ARGV) do
  local flat = redis.pcall('HGETALL', KEYS[2 * i - 1])
  if flat.err then
    -- No job of ours has this key: it must not keep the others from being read.
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
    CLOCK + DIGEST,
)

SET = _script("""
-- ARGV from 7 on: nonce, fields.
local old = load(KEYS[1])
if is_repeated(old, ARGV[7]) then return answer(old, (parts_of(old))) end
local job = {names = {}, values = {}, changed = {}, there = old.there, ended = old.ended}
-- A job that has ended begins anew: of its bookkeeping, what belongs to the attempt goes. So does
-- an overdue lease: whoever writes now goes on in the place of that worker.
local gone = old.ended or is_overdue(old)
local dropped = {_n = old.ended, _c = old.ended, _d = gone, _s = gone}
for _, name in ipairs(old.names) do
  if own(name) and not dropped[name] then set(job, name, old.values[name]) end
end
-- And whoever still writes for the attempt that is over is not its worker any more.
if old.ended and job.values['_k'] then set(job, '_k', '""') end
set_fields(job, 8)
note(job, ARGV[7])
-- Written first: what only frees memory would have to come after what Redis may refuse (OOM).
save(KEYS[1], job)
for _, name in ipairs(old.names) do
  if job.values[name] == nil then redis.call('HDEL', KEYS[1], name) end
end
return answer(job, (parts_of(job)))
""")

UPDATE = _script("""
-- ARGV from 7 on: most bytes, nonce, fields.
local job = load(KEYS[1])
if not job.there then return {1} end
if is_repeated(job, ARGV[8]) then return answer(job, (parts_of(job))) end
if job.ended then return {2} end
set_fields(job, 9)
note(job, ARGV[8])
local parts, bytes = parts_of(job)
if bytes > tonumber(ARGV[7]) then return {3, bytes} end
local overdue = is_overdue(job)
save(KEYS[1], job)
-- Whoever writes now goes on in the place of that worker.
if overdue then drop(KEYS[1], job, {_d = true, _s = true}) end
tell(job, parts)
return answer(job, parts)
""")

CREATE = _script(
    """
-- ARGV from 11 on: nonce, fields.
local job = load(KEYS[1])
if is_repeated(job, ARGV[11]) then return {0, entry(job)} end
if job.there then return {4} end
if owner ~= '' then set(job, '_o', owner) end
set_fields(job, 12)
note(job, ARGV[11])
save(KEYS[1], job)
enlist(job)
tell(job, (parts_of(job)))
return {0, entry(job)}
""",
    PRELUDE + ENLISTING,
)

CANCEL = _script("""
-- ARGV from 7 on: the owner that the job must have as JSON, '' for any; nonce.
local job = load(KEYS[1])
if is_repeated(job, ARGV[8]) then return {0} end
if not job.there or (ARGV[7] ~= '' and job.values['_o'] ~= ARGV[7]) then return {1} end
if job.ended then return {2} end
if not job.values['_c'] then
  note(job, ARGV[8])
  -- No new version: what the worker has written goes on to be the newest.
  if not job.values['_v'] then save(KEYS[1], job) end
  job.values['_c'] = '1'
  redis.call('HSET', KEYS[1], '_c', '1', '_q', job.values['_q'] or '""')
  local ttl = job.values['_t'] or default_ttl
  if redis.call('TTL', KEYS[1]) < tonumber(ttl) then redis.call('EXPIRE', KEYS[1], ttl) end
  tell(job, (parts_of(job)))
end
return {0}
""")

DELETE = _script(
    """
demand_to_publish()
demand_to_remember()
demand_to_write()
-- ARGV from 7 on: nonce.
local flat = redis.call('HMGET', KEYS[1], '_l', '_v', '_o', '_q')
local values = {_l = flat[1] or nil, _v = flat[2] or nil, _o = flat[3] or nil, _q = flat[4] or nil}
local before = recall()
local life = values['_l'] or before and string.format('%d', before.life) or '0'
if not values['_l'] then  -- There is no hash, or another program's: every life until now has ended.
  local nonces = before and before.nonces and '"' .. before.nonces .. '"'
  values = {_l = now(), _q = nonces or nil}
end
local job = {names = {}, values = values, changed = {}}
if is_repeated(job, ARGV[7]) then return {0, 1} end
if redis.call('DEL', KEYS[1]) == 0 and (not before or before.is_deletion) then return {0, 0} end
note(job, ARGV[7])
remember('x', values, ended_seconds)
publish(channel, '{"_gone":' .. life .. ',"_db":' .. database .. '}')
return {0, 1}
""",
    ARGUMENTS + CLOCK + PUBLISH + RIGHTS + RECORD + NONCES,
)

PUBLISH_CURRENT = _script(
    """
-- KEYS: hash. ARGV: channel, the message up to its mark, and after it. It is marked with the
-- snapshot that is stored now.
local mark = redis.call('HMGET', KEYS[1], '_l', '_v')
local text = '[' .. (mark[1] or '0') .. ',' .. (mark[2] or '0') .. ']'
return publish(ARGV[1], ARGV[2] .. text .. ARGV[3])
""",
    PUBLISH,
)

ENLIST = _script(
    """
-- KEYS: index. ARGV: job id, life, the job's time to live, length and seconds of the index.
enter(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return {0}
""",
    LISTING,
)

TAKE_OVER = _script(
    """
-- KEYS: the token of a job's responsible message. ARGV: that of one that was sent, seconds. The
-- newest stays.
if (redis.call('GET', KEYS[1]) or '') < ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
return {0}
""",
    "",
)

BEGIN = _script(
    """
-- A worker takes the job: a new attempt, created where it is not there. Answers 5 where a newer one
-- has taken it since: this is the same command once more, and changes nothing.
-- ARGV from 11 on: token as JSON, seconds of the lease, fields.
local job = load(KEYS[1])
local token = ARGV[11]
local nonce = string.sub(token, 2, 9)
if job.values['_k'] ~= token then  -- Else it is the same command once more.
  if is_repeated(job, nonce) then return {5} end
  note(job, nonce)
  local gone = added(job)
  gone['_c'] = job.ended or nil
  drop(KEYS[1], job, gone)
  if owner ~= '' and not job.values['_o'] then set(job, '_o', owner) end
  local attempt = string.format('%d', (tonumber(job.values['_a'] or '0') or 0) + 1)
  set(job, '_a', attempt)
  -- Later than the last one, though the clock may be another server's that is behind.
  set(job, '_b', string.format('%d', math.max(tonumber(now()), begun(job) + 1)))
  set(job, '_k', token)
  set(job, '_w', '0')
  lease(job, ARGV[12])
  set_fields(job, 13)
  set(job, 'attempt', attempt)
  save(KEYS[1], job)
  enlist(job)
  tell(job, (parts_of(job)))
end
local told = {job.values['_a'], entry(job), job.values['_c'] or '0', job.values['_b']}
return {0, told, answer(job, (parts_of(job)))}
""",
    PRELUDE + WORKER + ENLISTING,
)

WRITE = _script(
    """
-- The worker reports how far it is. Answers 1 where the job is gone, unless it may be created
-- again; 2 where it has ended, 5 where another attempt has taken it, and 6 where it was deleted:
-- then nothing is written.
-- ARGV from 11 on: token as JSON, seconds of the lease, most bytes, may be created again, attempt,
-- when it began, the write's number, life, added names, whether to enter the job into its lists
-- once more (an evicted list has lost it), fields.
local job = load(KEYS[1])
local may_create, mine, number = ARGV[14] == '1', tonumber(ARGV[16]), tonumber(ARGV[17])
-- Another program's hash is none of the job's lives.
local before = not job.values['_v'] and recall()
if before and before.life >= tonumber(ARGV[18]) then return {before.is_deletion and 6 or 2} end
if not job.there and not may_create then return {1} end
if tonumber(job.values['_x'] or '0') >= tonumber(ARGV[18]) then return {6} end
-- After Redis was emptied attempts may have come back in any order, and are counted anew: it is
-- their beginnings that tell which is the newest.
local taken, token = begun(job), job.values['_k']
if taken > mine or taken == mine and (token or ARGV[11]) ~= ARGV[11] then return {5} end
-- The same command once more, or an older one that comes late over a connection that was given up.
local written = tonumber(job.values['_w'] or '0')
if token == ARGV[11] and written >= number then return {0, job.values['_c'] or '0'} end
if token and taken < mine then
  drop(KEYS[1], job, added(job))
elseif token and job.ended then
  return {2}
end
if owner ~= '' and not job.values['_o'] then set(job, '_o', owner) end
set(job, '_a', ARGV[15])
set(job, '_b', ARGV[16])
set(job, '_k', ARGV[11])
set(job, '_w', ARGV[17])
-- Each job pays for its bookkeeping: most have added nothing.
if ARGV[19] ~= '[]' or job.values['_n'] then set(job, '_n', ARGV[19]) end
lease(job, ARGV[12])
set_fields(job, 21)
local parts, bytes = parts_of(job)
-- The end is published whatever had been stored before.
if bytes > tonumber(ARGV[13]) and not TERMINAL[job.values['status']] then return {3, bytes} end
save(KEYS[1], job)
tell(job, parts)
local cancel = job.values['_c'] or '0'
if job.there and ARGV[20] == '0' then return {0, cancel} end
enlist(job)
return {0, cancel, entry(job)}
""",
    PRELUDE + WORKER + ENLISTING,
)
