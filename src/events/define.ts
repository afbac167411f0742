/** How a noun's file declares the facts it can hold. */
import type { TSchema } from 'typebox';

export interface EventSpec<S extends TSchema = TSchema> {
  /** Raised by one when the shape of `data` changes; an upcast comes with it. */
  readonly version: number;
  /** The class of the streams this event lies in. */
  readonly class: 'kept' | 'transient';
  readonly data: S;
}

/** A fact that is kept for ever. */
export function kept<const S extends TSchema>(data: S, version = 1): EventSpec<S> {
  return { version, class: 'kept', data };
}

/** A reading, dropped by segment after some days, when its roll-up is in the log. */
export function transient<const S extends TSchema>(data: S, version = 1): EventSpec<S> {
  return { version, class: 'transient', data };
}
