/**
 * Upcasts: how data of an older version of an event becomes data of the next. The chain is checked at boot by
 * `checkUpcasts`: each step that a version above 1 implies is there, and each sample goes through to the newest schema.
 */

export interface Upcast {
  readonly type: string;
  /** The version it reads; it makes the next. */
  readonly from: number;
  /** A stored example of the old shape: what the check at boot runs through the chain. */
  readonly sample: unknown;
  up(data: unknown): unknown;
}

const upcasts: readonly Upcast[] = [];

/** Brings `data` from one version to another, a step at a time. Throws (a defect) when a step is missing. */
export function upcast(type: string, from: number, to: number, data: unknown, chain = upcasts): unknown {
  let result = data;
  for (let version = from; version < to; version++) {
    const step = chain.find((candidate) => candidate.type === type && candidate.from === version);
    if (!step) throw new TypeError(`no upcast brings ${type} from version ${version} to ${version + 1}`);
    result = step.up(result);
  }
  return result;
}

/** Throws when a step is missing or a sample does not come out in the newest shape. `fits` says whether data fits a type's schema. */
export function checkUpcasts(
  versions: Iterable<readonly [type: string, version: number]>,
  fits: (type: string, data: unknown) => boolean,
  chain = upcasts,
): void {
  for (const [type, newest] of versions) {
    for (let version = 1; version < newest; version++) {
      const step = chain.find((candidate) => candidate.type === type && candidate.from === version);
      if (!step) throw new TypeError(`no upcast brings ${type} from version ${version} to ${version + 1}`);
      if (!fits(type, upcast(type, version, newest, step.sample, chain))) {
        throw new TypeError(`the stored sample of ${type} version ${version} does not come out as version ${newest}`);
      }
    }
  }
}
