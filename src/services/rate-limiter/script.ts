/**
 * The law of `bucket.ts` as a script that runs inside Redis, where replicas share one clock and one level.
 *
 * rate-limiter-flexible calls it with the key, and with: points, seconds, the allowance, the seconds of its window. More seconds
 * than the window has ask for a debt: the points are taken in any case, negative ones given back, and the level stops at as
 * many seconds' worth. Answers what is used in whole units, rounded up, and milliseconds: after taking, until the bucket is
 * empty; when it did not fit, until it does, and then the units used are those it would have come to.
 *
 * A key lives until its bucket is empty, and an empty bucket is none: strangers that come once leave nothing behind.
 */

/** The script. `clock`: Lua for seconds and microseconds; tests give a moment of their own. */
export function bucketScript(clock = "redis.call('TIME')"): string {
  return `
    local time = ${clock}
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local points, seconds, allowed, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
    local parts = window * 1000
    local level = 0
    local stored = redis.call('GET', KEYS[1])
    if stored then
      local before, at = string.match(stored, '^(%d+) (%d+)$')
      level = math.max(0, math.min(tonumber(before), 2 * allowed * parts) - math.max(0, now - tonumber(at)) * allowed)
    end
    local after = math.max(0, level + points * parts)
    if seconds <= window and after > allowed * parts then
      return { math.ceil(after / parts), math.ceil((after - allowed * parts) / allowed) }
    end
    after = math.min(after, allowed * math.max(seconds, window) * 1000)
    local empty = math.ceil(after / allowed)
    if empty > 0 then
      redis.call('SET', KEYS[1], string.format('%.0f %.0f', after, now), 'PX', empty)
    elseif stored then
      redis.call('DEL', KEYS[1])
    end
    return { math.ceil(after / parts), empty }
  `;
}
