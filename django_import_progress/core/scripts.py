"""The Lua texts, one an atomic step: each writes, sets the expiry and tells, or does nothing.

Each job is one hash. A field's value is JSON already, so a message is made by joining texts: a
decoded and re-encoded number would come out changed (Lua's cjson makes 123456789012345 into
1.2345678901234e+14). Bookkeeping fields, kept short for every job pays for them:

``_l``  life: when the hash came to be, µs by Redis's clock
``_v``  version: how many writes this life has seen
``_o``  owner
``_t``  the job's own time to live, seconds
``_a``  attempt: how often a worker took the job
``_b``  when the present attempt began, µs by Redis's clock: what orders attempts
``_k``  the present attempt's token: who writes as the worker must know it
``_w``  the number of its last write
``_n``  the names of the fields that the present attempt added
``_d``  until when its worker is believed alive, µs by Redis's clock
``_c``  1: the job was asked to stop

A message has ``_r`` as well where there is a lease: when it was told, µs by Redis's clock.

A script that writes answers a list: first a code (see `calls`), then what it has to say. `SET` and
`UPDATE` answer the text alone of the fields where all is well, which is read fastest; what only
reads answers the present moment first, for there a job that is absent is no error.
"""

from __future__ import annotations

import dataclasses
import hashlib

from .prelude import CLOCK, DIGEST, FRESH, LISTING, PRELUDE, PUBLISH, SHARED_DIGEST, WORKER


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A Lua text and the digest by which Redis knows it (EVALSHA)."""

    text: str
    sha: str


def _script(body: str, shared: str = PRELUDE) -> Script:
    text = shared + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# Codes that a script answers first.
OK, MISSING, FINISHED, TOO_LARGE, EXISTS, SUPERSEDED = range(6)

READ = _script(
    """
-- KEYS: hash. Answers the present moment as well: a lease is by Redis's clock.
return {now(), redis.call('HGETALL', KEYS[1])}
""",
    CLOCK,
)

_CHECK = """
-- KEYS: hashes. ARGV: of each the digest by which it is known. Answers the present moment, and of
-- each that has another one: its place, the digest, and the hash.
local reply = {now()}
for i, key in ipairs(KEYS) do
  local flat = redis.pcall('HGETALL', key)
  if flat.err then
    -- No job of ours has this key: it must not keep the others from being read.
    if not string.find(flat.err, 'WRONGTYPE', 1, true) then return flat end
    flat = {}
  end
  local digest = digest_of(flat)
  if #flat == 0 or digest ~= ARGV[i] then
    for _, part in ipairs({i - 1, digest, flat}) do reply[#reply + 1] = part end
  end
end
return reply
"""
CHECK = _script(_CHECK, CLOCK + DIGEST)
CHECK_SHARED = _script(_CHECK, CLOCK + SHARED_DIGEST)
CHECK_AT_REPLICA = _script(_CHECK, FRESH + CLOCK + SHARED_DIGEST)

SET = _script("""
-- KEYS: hash. ARGV: default ttl, own ttl, fields.
local old = load(KEYS[1])
local job = {names = {}, values = {}, changed = {}}
local of_the_attempt = {_n = true, _d = true, _c = true}
for _, name in ipairs(old.names) do
  -- A job that has ended begins anew: of its bookkeeping, what belongs to the attempt goes.
  if own(name) and not (old.ended and of_the_attempt[name]) then
    set(job, name, old.values[name])
  end
end
-- And whoever still writes for the attempt that is over is not its worker any more.
if old.ended and job.values['_k'] then set(job, '_k', '""') end
set_fields(job, 3)
-- Written first: what only frees memory would have to come after what Redis may refuse (OOM).
save(KEYS[1], job, ARGV[1], ARGV[2])
for _, name in ipairs(old.names) do
  if job.values[name] == nil then redis.call('HDEL', KEYS[1], name) end
end
return answer((parts_of(job)))
""")

UPDATE = _script("""
-- KEYS: hash. ARGV: default ttl, own ttl, channel, most bytes, fields.
local job = load(KEYS[1])
if not job.there then return {1} end
if job.ended then return has_fields(job, 5) and answer((parts_of(job))) or {2} end
set_fields(job, 5)
local parts, bytes = parts_of(job)
if bytes > tonumber(ARGV[4]) then return {3, bytes} end
save(KEYS[1], job, ARGV[1], ARGV[2])
tell(ARGV[3], job, parts)
return answer(parts)
""")

CREATE = _script(
    """
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
tell(ARGV[3], job, (parts_of(job)))
return {0, entry(job)}
""",
    PRELUDE + LISTING,
)

CANCEL = _script("""
-- KEYS: hash. ARGV: default ttl, channel.
local job = load(KEYS[1])
if not job.there then return {1} end
if job.ended then return {2} end
if not job.values['_c'] then
  set(job, '_c', '1')
  save(KEYS[1], job, ARGV[1], '')
  tell(ARGV[2], job, (parts_of(job)))
end
return {0}
""")

DELETE = _script(
    """
-- KEYS: hash. ARGV: channel.
local life = redis.call('HGET', KEYS[1], '_l')
if redis.call('DEL', KEYS[1]) == 0 then return {0, 0} end
publish(ARGV[1], '{"_gone":' .. (life or '0') .. '}')
return {0, 1}
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

BEGIN = _script(
    """
-- A worker takes the job: a new attempt, made where it is not there.
-- KEYS: hash, index, owner's index (in a Cluster only the hash). ARGV: default ttl, own ttl,
-- channel, job id, owner as JSON or '', length and seconds of the index, token as JSON, seconds of
-- the lease, fields.
local job = load(KEYS[1])
if job.values['_k'] ~= ARGV[8] then  -- Else it is the same command once more.
  local gone = added(job)
  gone['_c'] = job.ended or nil
  drop(KEYS[1], job, gone)
  if ARGV[5] ~= '' and not job.values['_o'] then set(job, '_o', ARGV[5]) end
  local attempt = string.format('%d', (tonumber(job.values['_a'] or '0') or 0) + 1)
  set(job, '_a', attempt)
  -- Later than the last one, though the clock may be another server's that is behind.
  set(job, '_b', string.format('%d', math.max(tonumber(now()), begun(job) + 1)))
  set(job, '_k', ARGV[8])
  set(job, '_w', '0')
  lease(job, ARGV[9])
  set_fields(job, 10)
  set(job, 'attempt', attempt)
  save(KEYS[1], job, ARGV[1], ARGV[2])
  enlist(ARGV[5], ARGV[4], job, ARGV[1], ARGV[6], ARGV[7])
  tell(ARGV[3], job, (parts_of(job)))
end
local told = {job.values['_a'], entry(job), job.values['_c'] or '0', job.values['_b']}
return {0, told, answer((parts_of(job)))}
""",
    PRELUDE + WORKER + LISTING,
)

WRITE = _script(
    """
-- The worker tells how far it is. Answers 1 where the job is gone, unless it may be made again; 2
-- where it has ended, and 5 where another attempt has taken it: then nothing is written.
-- KEYS: hash, index, owner's index (in a Cluster only the hash). ARGV: default ttl, own ttl,
-- channel, job id, owner as JSON or '', length and seconds of the index, token as JSON, seconds of
-- the lease, most bytes, may be made again, attempt, when it began, the write's number, added
-- names, fields.
local job = load(KEYS[1])
if not job.there and ARGV[11] ~= '1' then return {1} end
-- After Redis was emptied attempts may have come back in any order, and are counted anew: it is
-- their beginnings that tell which is the newest.
local taken, mine, token = begun(job), tonumber(ARGV[13]), job.values['_k']
if taken > mine or taken == mine and (token or ARGV[8]) ~= ARGV[8] then return {5} end
-- The same command once more, or an older one that comes late over a connection that was given up.
local written = tonumber(job.values['_w'] or '0')
if token == ARGV[8] and written >= tonumber(ARGV[14]) then return {0, job.values['_c'] or '0'} end
if token and taken < mine then
  drop(KEYS[1], job, added(job))
elseif token and job.ended then
  return {2}
end
if ARGV[5] ~= '' and not job.values['_o'] then set(job, '_o', ARGV[5]) end
set(job, '_a', ARGV[12])
set(job, '_b', ARGV[13])
set(job, '_k', ARGV[8])
set(job, '_w', ARGV[14])
-- Each job pays for its bookkeeping: most have added nothing.
if ARGV[15] ~= '[]' or job.values['_n'] then set(job, '_n', ARGV[15]) end
lease(job, ARGV[9])
set_fields(job, 16)
local parts, bytes = parts_of(job)
-- The end is told whatever had been stored before.
if bytes > tonumber(ARGV[10]) and not TERMINAL[job.values['status']] then return {3, bytes} end
save(KEYS[1], job, ARGV[1], ARGV[2])
tell(ARGV[3], job, parts)
local cancel = job.values['_c'] or '0'
if job.there then return {0, cancel} end
enlist(ARGV[5], ARGV[4], job, ARGV[1], ARGV[6], ARGV[7])
return {0, cancel, entry(job)}
""",
    PRELUDE + WORKER + LISTING,
)
