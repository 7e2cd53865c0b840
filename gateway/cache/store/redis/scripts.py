"""Atomic operations in Redis, as Lua scripts. EVAL sends them, so a failover cannot lose one."""

from __future__ import annotations

__all__ = ["KEEP", "PURGE", "RELEASE", "RENEW"]

KEEP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""
"""Write an entry and end the lease, unless another replica has the lease (fencing).

KEYS: entry, lease. ARGV: token, envelope, lifetime in milliseconds.
"""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
"""End a lease that the caller still holds. KEYS: lease. ARGV: token."""

RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
"""Extend a lease that the caller still holds. KEYS: lease. ARGV: token, milliseconds."""

PURGE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('HGET', KEYS[1], '') or '0')
if not (last and last >= 0 and last < 2^53 - 1) then last = 0 end
local mark = string.format('%.0f', math.max(now, last + 1, tonumber(ARGV[2])))
local tag = ARGV[1]
if redis.call('HLEN', KEYS[1]) >= 10000 then
    redis.call('DEL', KEYS[1])
    tag = '*'
end
redis.call('HSET', KEYS[1], tag, mark, '', mark)
return {mark, redis.call('PUBLISH', ARGV[3], mark .. ' ' .. tag)}
"""
"""Generate the next mark for a tag and publish it to every replica.

The hash maps each tag to the mark of its latest purge, and the empty name to the latest mark.
KEYS: the hash. ARGV: tag, the least mark that is later than all that the caller knows, channel.
"""
