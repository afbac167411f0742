/** What a request is under load, found by its path before anything else is done with it: a tree of the segments of all routes. */
import type { Work } from '../../shedding.ts';

interface Branch {
  readonly next: Map<string, Branch>;
  /** For a segment that the path names freely. */
  any?: Branch;
  /** For all that follows. */
  rest?: Map<string, Work>;
  readonly here: Map<string, Work>;
}

export class WorkTree {
  readonly #root = branch();

  /** `url` is the template of a route; without `work` it is not looked for. */
  add(method: string | readonly string[], url: string, work: Work | undefined): void {
    if (!work) return;
    let at = this.#root;
    for (const segment of url.slice(1).split('/')) {
      if (segment === '*') {
        at.rest ??= new Map();
        for (const one of [method].flat()) at.rest.set(one, work);
        return;
      }
      at = child(at, segment);
    }
    for (const one of [method].flat()) at.here.set(one, work);
  }

  /** Undefined for a path that is not there, or is written in another way than its route: then the router finds out. */
  find(method: string, url: string): Work | undefined {
    const query = url.indexOf('?');
    const end = query === -1 ? url.length : query;
    return this.#find(this.#root, method, url, 1, end);
  }

  #find(at: Branch, method: string, url: string, from: number, end: number): Work | undefined {
    const slash = url.indexOf('/', from);
    const last = slash === -1 || slash >= end;
    const segment = url.slice(from, last ? end : slash);
    for (const next of [at.next.get(segment), at.any]) {
      const found = next && (last ? next.here.get(method) : this.#find(next, method, url, slash + 1, end));
      if (found) return found;
    }
    return at.rest?.get(method);
  }
}

function branch(): Branch {
  return { next: new Map(), here: new Map() };
}

function child(at: Branch, segment: string): Branch {
  const known = segment.startsWith(':') ? at.any : at.next.get(segment);
  if (known) return known;
  const next = branch();
  if (segment.startsWith(':')) at.any = next;
  else at.next.set(segment, next);
  return next;
}
