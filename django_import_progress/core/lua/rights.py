"""Lua functions that ask, before a script writes, for what Redis would refuse half-way."""

from __future__ import annotations

RIGHTS = """
-- What Redis would refuse half-way is refused before anything is written. 6.2 cannot be asked.
local function demand(command, ...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(command, ...) then
    error({err = "NOPERM No permissions to run the '" .. command .. "' command on " .. (...)})
  end
end

local function demand_to_publish()
  if redis.acl_check_cmd then
    demand(channel == KEYS[1] and 'spublish' or 'publish', channel, '')
  elseif not redis.call('HMGET', KEYS[1], '_l')[1] then
    redis.call('PUBLISH', channel, '')  -- Watchers read nothing into it; there can be none yet.
  end
end

-- What it takes to remember how a job ended, and to forget it when the job begins anew.
local function demand_to_remember()
  demand('set', KEYS[2], '')
  demand('del', KEYS[2])
end

-- What it takes to write a job: asked before it comes to be.
local function demand_to_write()
  demand('hset', KEYS[1], '', '')
  demand('hdel', KEYS[1], '')
  demand('expire', KEYS[1], '1')
  if KEYS[3] then
    demand('ttl', KEYS[3])
    demand('zadd', KEYS[3], '1', '')
    demand('zremrangebyrank', KEYS[3], '0', '0')
  end
end
"""
"""What a user may lack, which Redis says only when it comes to it."""
