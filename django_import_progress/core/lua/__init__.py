"""The Lua scripts, one for each atomic step in Redis."""
