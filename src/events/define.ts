/** How a noun's file declares the facts it can hold. */
import type { TSchema } from 'typebox';

export interface EventSpec<S extends TSchema = TSchema> {
  /** The class of the streams this event lies in. */
  readonly class: 'kept' | 'transient';
  readonly data: S;
}

/** A fact that is kept for ever. */
export function kept<const S extends TSchema>(data: S): EventSpec<S> {
  return { class: 'kept', data };
}

/** A reading, dropped by segment after some days, when its roll-up is in the log. */
export function transient<const S extends TSchema>(data: S): EventSpec<S> {
  return { class: 'transient', data };
}
