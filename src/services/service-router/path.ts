/** What of the URL of a routed call goes on to the target, as it came; and which paths do not, because they mean different things to different readers. */
import { type Refusal, refuse } from '../../errors.ts';

/** Path and query after the first `skip` segments of a URL as it came: `/a/b/c?d` after two is `/c?d`. */
export function restOf(url: string, skip: number): string {
  let at = 0;
  for (let segment = 0; segment < skip; segment++) {
    at = url.indexOf('/', at + 1);
    if (at === -1) return `/${url.includes('?') ? url.slice(url.indexOf('?')) : ''}`;
  }
  return url.slice(at);
}

/** Segments that begin with no dot and hold nothing encoded, then a query that holds nothing odd: nothing to be read in two ways. */
const plain = /^(\/[\w~-][\w.~-]*)*\/?(\?[\w.~%&=+,:;/-]*)?$/;

/** How often a path may be encoded over itself and still be seen through. */
const deepestEncoding = 3;

/**
 * Why a path may not go on: one with `.` or `..` in it, plain or encoded, with `/`, `\` or `;` around it, leaves the place that
 * it is put under at some target; one that is written in another form than the URL standard gives it is read in two ways.
 */
export function strayPath(rest: string): Refusal | undefined {
  if (plain.test(rest)) return undefined;
  const path = rest.replace(/\?.*$/s, '');
  const canonical = URL.canParse(path, 'http://target') ? new URL(path, 'http://target').pathname : undefined;
  if (rest.includes('#') || path.startsWith('//') || canonical !== path)
    return refuse('invalid_input', 'the path is not in the form that URLs are compared in');
  let text = path;
  for (let depth = 0; depth <= deepestEncoding; depth++) {
    if (text.split(/[/\\]/).some((segment) => /^\.\.?(;.*)?$/s.test(segment)))
      return refuse('invalid_input', 'the path goes up or stays in place, plain or encoded');
    const decoded = decode(text);
    if (decoded === undefined && depth === 0) return refuse('invalid_input', 'the path holds what is no encoded text');
    if (decoded === undefined || decoded === text) return undefined; // a percent sign of its own
    text = decoded;
  }
  return refuse('invalid_input', `the path is encoded more than ${deepestEncoding} times over`);
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
