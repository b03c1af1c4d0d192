"""What the server does in one step, as Lua: nothing else happens in between, and replicas and the AOF get it whole.

A batch is not sent as a command for each entry: its payloads are one argument, where each ends and which id it gets is
another one (MessagePack), and the script calls XADD. Framing costs Ditto nothing a message then, and the server 4 µs.
"""

from __future__ import annotations

from typing import Final

PUBLISH: Final = """
local state, own = KEYS[1], KEYS[2]
local writer = redis.call('HGET', state, 'writer')
if writer ~= ARGV[1] then
  return redis.error_reply('DITTOFENCED the state says ' .. tostring(writer))
end
if ARGV[9] == '1' then
  for i = 4, #KEYS do
    redis.call('SADD', KEYS[3], KEYS[i])
  end
end
local ends, ordinals, runs, places, kinds, common, header_ends, keys, traces = unpack(cmsgpack.unpack(ARGV[3]))
local data, gap, headers, max_length = ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local call, sub, gmatch = redis.pcall, string.sub, string.gmatch
local is_plain = max_length == 0 and #common == 0 and not header_ends and not keys and not traces
local start, header_start, run, left, lsn, stored, stored_in = 1, 1, -1, 0, '', nil, nil
for i = 1, #ends do
  if left == 0 then
    run = run + 2
    lsn, left = runs[run], runs[run + 1]
  end
  left = left - 1
  local place = places[i]
  local key, kind, payload = KEYS[place], kinds[place], sub(data, start, ends[i])
  local id = lsn .. '-' .. (kind == 2 and '*' or ordinals[i])
  start = ends[i] + gap + 1
  local answer
  if is_plain then
    answer = call('XADD', key, id, 'data', payload)
  else
    local command = {'XADD', key}
    if max_length > 0 then
      command[3], command[4], command[5] = 'MAXLEN', '~', max_length
    end
    local n = #command
    command[n + 1], command[n + 2], command[n + 3] = id, 'data', payload
    n = n + 3
    for j = 1, #common do
      n = n + 1
      command[n] = common[j]
    end
    if header_ends then
      local lines = sub(headers, header_start, header_ends[i])
      header_start = header_ends[i] + 1
      for name, value in gmatch(lines, '([^:\\r\\n]+): ?([^\\r\\n]*)\\r\\n') do
        command[n + 1], command[n + 2] = name == 'data' and '%64ata' or name, value
        n = n + 2
      end
    end
    if traces and traces[i] then
      command[n + 1], command[n + 2] = 'traceparent', traces[i]
      n = n + 2
    end
    if keys and keys[i] then
      command[n + 1], command[n + 2] = 'Ditto-Key', keys[i]
    end
    answer = call(unpack(command))
  end
  if type(answer) == 'table' and answer.err then
    if stored then
      redis.call('HSET', state, 'tail', cjson.encode({id = stored, stream = stored_in}))
    end
    return redis.error_reply(answer.err .. ' [key ' .. key .. ']')
  end
  if kind > 0 then
    redis.call('HSET', own, key, payload)
  end
  if kind < 2 then
    stored, stored_in = id, key
  end
end
redis.call('HSET', state, 'writer', ARGV[2])
if ARGV[8] ~= '' then
  redis.call('HSET', state, 'tail', ARGV[8])
end
return 1
"""
"""KEYS: the state, Ditto's own routes, the names of streams, the streams. ARGV: the writer as it has to be, and as it
is afterwards; the batch; its payloads, the gap between them; their headers; the longest a stream may be, 0 for any; the
new tail, empty for none; 1 where a name may be a new one.

The payload's field is `data`: a header of that name is percent-encoded.

The writer is an epoch, which every session that opens the sink raises, and how many batches it has stored: a stale
session is refused, and so is everything behind a batch that was refused. Where an entry is refused, those before it
stay, and the last of them is the tail, which is to be read there: a script is not rolled back."""

OPEN: Final = """
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'writer', epoch .. '-0')
return epoch
"""
"""KEYS: the state."""

CLAIM: Final = """
local owner = redis.call('HGET', KEYS[1], 'owner')
if (owner or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
return 1
"""
"""KEYS: the state. ARGV: the owner as it has to be, empty for none; the new one."""

SET: Final = """
local writer = redis.call('HGET', KEYS[1], 'writer')
if not writer or string.sub(writer, 1, #ARGV[1]) ~= ARGV[1] then
  return redis.error_reply('DITTOFENCED the state says ' .. tostring(writer))
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
"""
"""KEYS: the state. ARGV: epoch and hyphen of the session; a field, its value."""
