"""Lua functions that check permissions before a script writes.

Otherwise Redis would refuse a command in the middle of a script, and undo nothing.
"""

from __future__ import annotations

RIGHTS = """
-- Raises the error that Redis would raise later. Redis 6.2 cannot check permissions.
local function demand(command, ...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(command, ...) then
    error({err = "NOPERM No permissions to run the '" .. command .. "' command on " .. (...)})
  end
end

local function demand_to_publish()
  if redis.acl_check_cmd then
    demand(channel == KEYS[1] and 'spublish' or 'publish', channel, '')
  elseif not redis.call('HMGET', KEYS[1], '_l')[1] then
    redis.call('PUBLISH', channel, '')  -- Watchers ignore it; there can be none yet.
  end
end

-- Permissions to write the record of a job, and to delete it when the job restarts.
local function demand_to_remember()
  demand('set', KEYS[2], '')
  demand('del', KEYS[2])
end

-- Permissions to write a job, checked before it is created.
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
"""Checks the permissions of the Redis user."""
