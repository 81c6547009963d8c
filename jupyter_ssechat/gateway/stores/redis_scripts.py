"""What the Redis store does in one step, in Redis itself.

KEYS[1] is the hash of a session: its own fields, and those of message N as ``N:field``. Every other key of a
session has the same tag in its name, so that all of them are in one slot. An empty `now` is Redis' own time.
"""

NOW = """
local S = KEYS[1]
local function now(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function touch(known, keep)
  redis.call('EXPIRE', S, keep)
  redis.call('SET', known, 1, 'EX', keep * 2)
end
"""

CREATE = """
if redis.call('HSETNX', S, 'version', 0) == 0 then return end
redis.call('HSET', S, 'title', ARGV[1], 'updated_at', ARGV[2], 'ids', '', 'user', ARGV[4], 'size', 0)
touch(KEYS[2], tonumber(ARGV[3]))
"""

LOAD = """
local head = redis.call('HMGET', S, 'title', 'updated_at', 'version', 'user', 'ids')
if not head[3] then return redis.call('EXISTS', KEYS[2]) end
local rows = {}
for id in string.gmatch(head[5], '%d+') do
  local m = id .. ':'
  local is = redis.call('HMGET', S, m .. 'version', m .. 'running', m .. 'epoch', m .. 'base')
  if tonumber(is[1]) > tonumber(ARGV[1]) or is[2] == '1' then
    local names = {}
    for n = 2, #ARGV do names[#names + 1] = m .. ARGV[n] end
    local tail = {}
    if is[2] == '1' then tail = redis.call('XRANGE', S .. ':' .. m .. is[3], '(' .. is[4], '+') end
    rows[#rows + 1] = {id, redis.call('HMGET', S, unpack(names)), tail}
  end
end
return {head, rows}
"""

COMMIT = """
local expected, nonce, title, updated_at, given, lease, owner, keep = unpack(ARGV, 1, 8)
local is = redis.call('HMGET', S, 'version', 'nonce', 'ids', 'user', 'size')
if not is[1] then return -1 - redis.call('EXISTS', KEYS[2]) end
if is[2] == nonce then return {tonumber(is[1]), is[4], is[5]} end
if is[1] ~= expected then return 0 end
local version, ids, size = tonumber(expected) + 1, is[3], tonumber(is[5])
redis.call('HSET', S, 'version', version, 'nonce', nonce, 'title', title, 'updated_at', updated_at)
local at = 10
local width = tonumber(ARGV[9])
local names = {}
for i = 1, width do names[i] = ARGV[at + i - 1] end
at = at + width
while at <= #ARGV do
  local m = ARGV[at] .. ':'
  if redis.call('HEXISTS', S, m .. 'version') == 0 then ids = ids .. ' ' .. ARGV[at] end
  local before = redis.call('HSTRLEN', S, m .. 'document')
  for i = 1, width do redis.call('HSET', S, m .. names[i], ARGV[at + i]) end
  size = size + redis.call('HSTRLEN', S, m .. 'document') - before
  redis.call('HSET', S, m .. 'version', version, m .. 'end', '0-0', m .. 'stop', 0, m .. 'attended', 0,
    m .. 'owner', owner, m .. 'lease', string.format('%.17g', now(given) + tonumber(lease)))
  at = at + width + 1
end
redis.call('HSET', S, 'ids', ids, 'size', size)
touch(KEYS[2], tonumber(keep))
return {version, is[4], tostring(size)}
"""

APPEND = """
local id, epoch, fence, seq, patches, document, ended_at, keep, overlap, owner = unpack(ARGV)
local m = id .. ':'
local is = redis.call('HMGET', S, 'version', m .. 'epoch', m .. 'fence', m .. 'running', m .. 'end', m .. 'stop',
  m .. 'owner')
if not is[1] then return {'gone', '0'} end
if is[2] ~= epoch or is[3] ~= fence or is[7] ~= owner then return {'fenced', '0'} end
local function ok()
  if ended_at == '' then return {'ok', is[6]} end
  local weight = redis.call('HMGET', S, 'user', 'size')
  return {'ok', is[6], weight[1], weight[2]}
end
local last = tonumber(string.match(is[5], '%-(%d+)$'))
if last >= tonumber(seq) then return ok() end
if is[4] ~= '1' then return {'fenced', '0'} end
if last + 1 < tonumber(seq) and document == '' then return {'behind', is[6]} end
local position = fence .. '-' .. seq
redis.call('XADD', KEYS[2], position, 'p', patches)
redis.call('HSET', S, m .. 'end', position)
if document ~= '' then
  redis.call('HINCRBY', S, 'size', #document - redis.call('HSTRLEN', S, m .. 'document'))
  redis.call('HSET', S, m .. 'document', document, m .. 'base', position)
  redis.call('XTRIM', KEYS[2], 'MAXLEN', overlap)
end
if ended_at == '' then
  redis.call('EXPIRE', KEYS[2], 86400)
else
  redis.call('HSET', S, m .. 'version', redis.call('HINCRBY', S, 'version', 1))
  redis.call('HSET', S, m .. 'running', 0, 'updated_at', ended_at)
  redis.call('EXPIRE', KEYS[2], 60)
  touch(KEYS[3], tonumber(keep))
end
return ok()
"""

STOP = """
local m = ARGV[1] .. ':'
local is = redis.call('HMGET', S, 'version', m .. 'running', m .. 'stream', m .. 'owner', m .. 'epoch')
if not is[1] then return -1 - redis.call('EXISTS', KEYS[2]) end
if is[2] ~= '1' or (ARGV[2] ~= '' and ARGV[2] ~= is[3]) then return 0 end
redis.call('HSET', S, m .. 'stop', 1)
return {is[4], is[5]}
"""

STAND = """
local id, epoch, given, field, seconds, fence = unpack(ARGV)
local m = id .. ':'
local is = redis.call('HMGET', S, m .. 'epoch', m .. 'fence', m .. 'end', m .. 'running', m .. 'stop', m .. 'attended',
  m .. 'lease')
if is[1] ~= epoch then return 0 end
if field ~= '' and (fence == '' or fence == is[2]) then
  redis.call('HSET', S, m .. field, string.format('%.17g', now(given) + tonumber(seconds)))
end
local attended = redis.call('HGET', S, m .. 'attended')
return {is[2], is[3], is[4], is[5], tonumber(attended) > now(given) and 1 or 0, is[7]}
"""

SEIZE = """
local id, epoch, given, owner, lease = unpack(ARGV)
local m = id .. ':'
local is = redis.call('HMGET', S, m .. 'epoch', m .. 'running', m .. 'lease')
if is[1] ~= epoch or is[2] ~= '1' or tonumber(is[3]) > now(given) then return 0 end
redis.call('HSET', S, m .. 'owner', owner, m .. 'lease', string.format('%.17g', now(given) + tonumber(lease)),
  m .. 'version', redis.call('HINCRBY', S, 'version', 1))
return redis.call('HINCRBY', S, m .. 'fence', 1)
"""

DELETE = """
local is = redis.call('HMGET', S, 'ids', 'user')
if not is[1] then return -1 - redis.call('EXISTS', KEYS[2]) end
for id in string.gmatch(is[1], '%d+') do
  redis.call('DEL', S .. ':' .. id .. ':' .. redis.call('HGET', S, id .. ':epoch'))
end
redis.call('DEL', S)
return {is[2]}
"""

WEIGH = """
local used, untils, given, keep = KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local function count(field, bytes)
  if bytes ~= 0 then redis.call('HINCRBY', used, field, string.format('%d', bytes)) end
end
local function weigh(session, user, size)
  local before = redis.call('HGET', S, session)
  if before then
    local bytes, of = string.match(before, '^(%d+)/(.*)$')
    count('user:' .. of, -tonumber(bytes))
    count('all', -tonumber(bytes))
  end
  if size >= 0 then
    redis.call('HSET', S, session, string.format('%d/%s', size, user))
    count('user:' .. user, size)
    count('all', size)
    redis.call('ZADD', untils, now(given) + tonumber(keep), session)
  else
    redis.call('HDEL', S, session)
    redis.call('ZREM', untils, session)
    if redis.call('HGET', used, 'user:' .. user) == '0' then redis.call('HDEL', used, 'user:' .. user) end
  end
end
for at = 3, #ARGV, 3 do weigh(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])) end
local gone = {}
for _, session in ipairs(redis.call('ZRANGEBYSCORE', untils, '-inf', now(given), 'LIMIT', 0, 100)) do
  local of = string.match(redis.call('HGET', S, session) or '', '^%d+/(.*)$') or ''
  weigh(session, of, -1)
  gone[#gone + 1] = {session, of}
end
return gone
"""

TAKE = """
local given, seconds, member = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = now(given)
for at, pool in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', pool, '-inf', time)
  if redis.call('ZCARD', pool) >= tonumber(ARGV[3 + at]) and not redis.call('ZSCORE', pool, member) then return at end
end
for _, pool in ipairs(KEYS) do
  redis.call('ZADD', pool, string.format('%.17g', time + seconds), member)
  redis.call('EXPIRE', pool, math.ceil(seconds) + 60)
end
return 0
"""

SPEND = """
local step, period, time = tonumber(ARGV[2]), tonumber(ARGV[3]), now(ARGV[1])
local next = math.max(tonumber(redis.call('GET', S) or 0), time) + step
local wait = next - period - time
if wait > 1e-6 then return tostring(wait) end
redis.call('SET', S, string.format('%.17g', next), 'EX', math.ceil(period) + 1)
return '0'
"""

SCRIPTS = {
    name: NOW + body
    for name, body in {
        "create": CREATE,
        "load": LOAD,
        "commit": COMMIT,
        "append": APPEND,
        "stop": STOP,
        "stand": STAND,
        "seize": SEIZE,
        "delete": DELETE,
        "weigh": WEIGH,
        "take": TAKE,
        "spend": SPEND,
    }.items()
}

__all__ = ["SCRIPTS"]
