/**
 * The judge of sovereignty: who may have, or change, what knowledge, and which rule says so. Pure; the doors, the search and the sync all
 * ask it, so that what one hides no other shows.
 *
 * What no rule allows is forbidden. The rules are those of the *subject* that a version is under: the node it belongs to, `@federation`
 * for what belongs to operators, and for a version of another federation the node that brought it here. One's own is always allowed.
 * - To *show*, a share rule of the subject must fit: its categories, its tags if it has any, and whoever is to read.
 * - To *move* (a sync, which leaves a copy), the receiver's own `takes` must besides let it in: its category, and whose it is.
 * - To *edit*, the share rule must say `edit`. Nobody edits what is of another federation.
 * - What is of another federation goes to nobody but who brought it, unless the rule that let it out there said `pass_on`.
 */
import type { Foreign } from './events/memory.ts';
import type { NodeRole } from './events/node.ts';
import type { Parties, ShareRule, Sovereignty } from './events/sovereignty.ts';

/** Named as the rule where nothing but owning it let a version go. */
export const ownRule = '@owner';

/** Who may get something, or whose it is. */
export interface Party {
  /** A node, or `@federation`. */
  readonly subject: string;
  /** Position of the log since which it is a member: what is older is of one that had its name before. */
  readonly since: number;
  /** Position since which role, owner and region are what they are; undefined: since ever. */
  readonly stands?: number;
  readonly role?: NodeRole | undefined;
  readonly owner?: string | undefined;
  /** The `region` among its labels. */
  readonly region?: string | undefined;
  /** Another hub that this one is a member of: no member itself, and meant by no rule that does not name it. */
  readonly peer?: true;
}

/** What a subject says, and which version of that it is. */
export interface Policy extends Readonly<Sovereignty> {
  readonly policy_version: number;
}

/** Who is a member now, and what they say. Undefined: is not there, says nothing. */
export interface Standing {
  party(subject: string): Party | undefined;
  policy(subject: string): Policy | undefined;
}

/** A version of a memory, as far as it is judged. */
export interface Matter {
  readonly subject: string;
  /** Where the log has what makes it this subject's: the first fact of the memory, or, of a foreign version, that version. */
  readonly subject_position: number;
  readonly category: string;
  readonly tags: readonly string[];
  readonly foreign?: Pick<Foreign, 'pass_on' | 'until'> | null | undefined;
}

export type Purpose = 'show' | 'move' | 'edit';

/** What allows it. */
export interface Grant {
  readonly subject: string;
  /** Of the subject's share rules, by its id; `ownRule` for one's own. */
  readonly rule: string;
  /** Of the subject's policy; 0 for one's own. */
  readonly policyVersion: number;
  readonly passOn: boolean;
  readonly edit: boolean;
  /** Until when a copy that goes now may be kept, milliseconds since 1970. Undefined: without end. */
  readonly until: number | undefined;
}

/** Judges a single version at a moment, milliseconds since 1970. Many of them for one receiver: make a `Judge`. */
export function judge(
  receiver: Party,
  purpose: Purpose,
  matter: Matter,
  now: number,
  standing: Standing,
): Grant | undefined {
  return new Judge(receiver, purpose, standing).judge(matter, now);
}

/** A share rule that fits the receiver, made ready. */
export interface FittingRule {
  readonly id: string;
  readonly fits: CategoryTest;
  readonly categories: readonly string[];
  /** Undefined: any. */
  readonly tags: ReadonlySet<string> | undefined;
  readonly until: number;
  readonly keepMs: number;
  readonly passOn: boolean;
  readonly edit: boolean;
}

/** What one subject shares with the receiver, in the order of its policy. */
export interface Shared {
  readonly party: Party;
  readonly policyVersion: number;
  readonly rules: readonly FittingRule[];
  /** What counts for a category; of at most `mostRemembered` of these. */
  readonly byCategory: Map<string, Fitting>;
}

interface Fitting {
  readonly rules: readonly FittingRule[];
  /** Rules of the receiver that let in what this subject shares of the category. */
  readonly takes: readonly TakeTest[];
}

interface TakeTest {
  readonly fits: CategoryTest;
  readonly until: number;
  readonly foreign: boolean;
}

/**
 * Judges what one receiver may have. The rules are read when a subject is first met, so a judge is good as long as nobody's policy, role,
 * owner or region changes.
 */
export class Judge {
  readonly receiver: Party;
  readonly #purpose: Purpose;
  readonly #standing: Standing;
  readonly #shared = new Map<string, Shared | undefined>();
  /** What the receiver takes, by whose it is. */
  readonly #taken = new Map<string, readonly TakeTest[]>();

  constructor(receiver: Party, purpose: Purpose, standing: Standing) {
    this.receiver = receiver;
    this.#purpose = purpose;
    this.#standing = standing;
  }

  /** The rule of those that allow it which gives most: passing on before editing before the longest, and of equals the first. */
  judge(matter: Matter, now: number): Grant | undefined {
    const { foreign } = matter;
    const ends = foreign?.until === undefined ? Number.POSITIVE_INFINITY : moment(foreign.until);
    if (ends <= now || (foreign && this.#purpose === 'edit')) return undefined;
    if (this.owns(matter)) return own(matter, ends);
    if (foreign && !foreign.pass_on) return undefined;
    const shared = this.sharedBy(matter.subject);
    if (!shared || matter.subject_position <= shared.party.since) return undefined;
    const { rules, takes } = this.#fitting(shared, matter.category);
    const rule = bestOf(rules, matter, now);
    if (!rule || (this.#purpose === 'move' && !letsIn(takes, foreign, now))) return undefined;
    const until = Math.min(endOf(rule, now), ends);
    return {
      subject: matter.subject,
      rule: rule.id,
      policyVersion: shared.policyVersion,
      passOn: rule.passOn,
      edit: rule.edit && !foreign,
      until: until === Number.POSITIVE_INFINITY ? undefined : until,
    };
  }

  /** Whether it is the receiver's own. */
  owns({ subject, subject_position }: Pick<Matter, 'subject' | 'subject_position'>): boolean {
    return subject === this.receiver.subject && subject_position > this.receiver.since;
  }

  /** What a subject shares with the receiver at all; undefined: nothing. */
  sharedBy(subject: string): Shared | undefined {
    if (this.#shared.has(subject)) return this.#shared.get(subject);
    const shared = this.#share(subject);
    this.#shared.set(subject, shared);
    return shared;
  }

  #share(subject: string): Shared | undefined {
    const party = this.#standing.party(subject);
    const policy = this.#standing.policy(subject);
    if (!party || !policy) return undefined;
    const fitting = policy.shares.filter((rule) => isAmong(this.receiver, rule.with));
    const allowing = this.#purpose === 'edit' ? fitting.filter(({ edit }) => edit) : fitting;
    if (allowing.length === 0) return undefined;
    return { party, policyVersion: policy.policy_version, rules: allowing.map(ready), byCategory: new Map() };
  }

  #fitting({ party, rules, byCategory }: Shared, category: string): Fitting {
    let fitting = byCategory.get(category);
    if (!fitting) {
      const takes = this.#purpose === 'move' ? this.#takesFrom(party) : [];
      fitting = {
        rules: rules.filter(({ fits }) => fits(category)),
        takes: takes.filter(({ fits }) => fits(category)),
      };
      if (byCategory.size < mostRemembered) byCategory.set(category, fitting);
    }
    return fitting;
  }

  #takesFrom(owner: Party): readonly TakeTest[] {
    let tests = this.#taken.get(owner.subject);
    if (!tests) {
      const takes = this.#standing.policy(this.receiver.subject)?.takes ?? [];
      tests = takes
        .filter((rule) => isAmong(owner, rule.with))
        .map((rule) => ({
          fits: categoryTest(rule.categories),
          until: rule.until === undefined ? Number.POSITIVE_INFINITY : moment(rule.until),
          foreign: rule.foreign === true,
        }));
      this.#taken.set(owner.subject, tests);
    }
    return tests;
  }
}

/** Whether a party is among those that a rule names: by each kind of word that is there. Without any word, nobody is. */
function isAmong(party: Party, { everyone, nodes, roles, owners, regions }: Parties): boolean {
  if ((!everyone && !nodes && !roles && !owners && !regions) || (party.peer && !nodes)) return false;
  return (
    (!nodes || nodes.includes(party.subject)) &&
    (!roles || (party.role !== undefined && roles.includes(party.role))) &&
    (!owners || (party.owner !== undefined && owners.includes(party.owner))) &&
    (!regions || (party.region !== undefined && regions.includes(party.region)))
  );
}

type CategoryTest = (category: string) => boolean;

/** Whether a category is among those that patterns name: itself, with `/*` itself and all below it, with `*` all. */
function categoryTest(patterns: readonly string[]): CategoryTest {
  if (patterns.includes('*')) return () => true;
  const exact = new Set(patterns.map((pattern) => pattern.replace(/\/\*$/, '')));
  const above = patterns.filter((pattern) => pattern.endsWith('/*')).map((pattern) => pattern.slice(0, -1));
  return (category) => exact.has(category) || above.some((prefix) => category.startsWith(prefix));
}

function own({ subject, foreign }: Matter, ends: number): Grant {
  const until = ends === Number.POSITIVE_INFINITY ? undefined : ends;
  return { subject, rule: ownRule, policyVersion: 0, passOn: foreign?.pass_on ?? true, edit: !foreign, until };
}

const mostRemembered = 1_000;

function bestOf(rules: readonly FittingRule[], matter: Matter, now: number): FittingRule | undefined {
  let best: FittingRule | undefined;
  for (const rule of rules) {
    if (rule.until <= now || (rule.tags && !matter.tags.some((tag) => rule.tags!.has(tag)))) continue;
    if (!best || givesMore(rule, best, now)) best = rule;
  }
  return best;
}

function letsIn(takes: readonly TakeTest[], foreign: Matter['foreign'], now: number): boolean {
  for (const take of takes) if (take.until > now && (take.foreign || !foreign)) return true;
  return false;
}

function givesMore(rule: FittingRule, than: FittingRule, now: number): boolean {
  if (rule.passOn !== than.passOn) return rule.passOn;
  if (rule.edit !== than.edit) return rule.edit;
  return endOf(rule, now) > endOf(than, now);
}

/** Until when a copy that goes now may be kept. */
function endOf({ until, keepMs }: FittingRule, now: number): number {
  return Math.min(until, now + keepMs);
}

function ready({ id, categories, tags, until, keep_seconds, pass_on, edit }: ShareRule): FittingRule {
  return {
    id,
    fits: categoryTest(categories),
    categories,
    tags: tags && new Set(tags),
    until: until === undefined ? Number.POSITIVE_INFINITY : moment(until),
    keepMs: keep_seconds === undefined ? Number.POSITIVE_INFINITY : keep_seconds * 1_000,
    passOn: pass_on === true,
    edit: edit === true,
  };
}

/** Milliseconds since 1970; what is no time has passed long ago. */
function moment(time: string): number {
  const ms = Date.parse(time);
  return Number.isNaN(ms) ? Number.NEGATIVE_INFINITY : ms;
}
