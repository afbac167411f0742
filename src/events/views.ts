/** Facts of the views' rebuilds, in the stream `views`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const viewsEvents = {
  /** The replica that projects starts building the next generation when it meets this. */
  'views.rebuild-requested': kept(Type.Object({ rebuild_id: Type.String() })),
  /** `digest` is SHA-256 over all rows of all views, hex; `generation` is the number of the views that now serve. */
  'views.rebuilt': kept(
    Type.Object({
      rebuild_id: Type.String(),
      generation: Type.Integer(),
      events: Type.Integer(),
      digest: Type.String(),
    }),
  ),
} as const;
