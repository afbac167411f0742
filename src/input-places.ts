/** What is wrong with an input, as those read it who wrote it: the places, and of a choice between shapes the one that was meant. */
import type { TSchema } from 'typebox';

export interface Place {
  readonly path: string;
  readonly message: string;
}

/** An error of a validator. */
interface Found {
  readonly keyword: string;
  readonly schemaPath: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: object;
}

const mostPlaces = 8;

/** What a check found, in words. The first is the one to tell when only one is told. */
export function placesOf(schema: TSchema, errors: readonly Found[]): Place[] {
  const found = meant(errors);
  const isNamed = found.some(({ keyword }) => keyword === 'boolean'); // each member that is too much
  const told = found.filter(({ keyword }) => keyword !== 'additionalProperties' || !isNamed);
  return told.slice(0, mostPlaces).map((each) => ({
    path: each.instancePath.slice(0, 200) || '/',
    message: wordsOf(schema, each),
  }));
}

function wordsOf(schema: TSchema, found: Found): string {
  if (found.keyword === 'boolean') return 'is not known here';
  if (found.keyword === 'const') return `must be ${allowedBy(found)}`;
  if (found.keyword !== 'pattern') return found.message;
  const words = descriptionAt(schema, found.schemaPath.replace(/^#\/?/, ''));
  return words ? `does not fit: ${words} (${found.message})` : found.message;
}

/** Of each choice between shapes the errors of the one that comes nearest; those of the others would mislead. */
function meant(errors: readonly Found[], from = 0): Found[] {
  const choice = errors.map(({ schemaPath }) => choiceIn(schemaPath, from)).find((path) => path !== undefined);
  if (choice === undefined) return [...errors];
  const branches = new Map<string, Found[]>();
  const others: Found[] = [];
  for (const error of errors) {
    const { schemaPath, keyword } = error;
    const branch = schemaPath.startsWith(`${choice}/`)
      ? schemaPath.slice(choice.length + 1).split('/', 1)[0]
      : undefined;
    if (branch !== undefined) branches.set(branch, [...(branches.get(branch) ?? []), error]);
    else if (keyword !== 'anyOf' || `${schemaPath}/anyOf` !== choice) others.push(error);
  }
  const all = [...branches.values()];
  const [nearest = []] = all.sort((one, other) => distance(one) - distance(other));
  return [...meant(oneWord(all) ?? nearest, choice.length + 1), ...meant(others, from)];
}

/** A choice between words is one error that names them all. */
function oneWord(branches: readonly Found[][]): Found[] | undefined {
  const words = branches.flatMap(([only, ...more]) => (only?.keyword === 'const' && more.length === 0 ? [only] : []));
  const [first] = words;
  if (!first || words.length < branches.length || words.length < 2) return undefined;
  if (words.some(({ instancePath }) => instancePath !== first.instancePath)) return undefined;
  return [{ ...first, keyword: 'enum', message: `must be one of ${words.map(allowedBy).join(', ')}` }];
}

function allowedBy({ params }: Found): string {
  return JSON.stringify((params as { allowedValue: unknown }).allowedValue); // as errors of `const` have it
}

/** A member that a shape has not, or a word that is another's, says that this shape was not meant. */
function distance(errors: readonly Found[]): number {
  const isOther = ({ keyword }: Found) => keyword === 'boolean' || keyword === 'const';
  return errors.reduce((sum, error) => sum + (isOther(error) ? 10 : 1), 0);
}

function choiceIn(schemaPath: string, from: number): string | undefined {
  const at = schemaPath.indexOf('/anyOf/', from);
  return at < 0 ? undefined : schemaPath.slice(0, at + '/anyOf'.length);
}

/** What a schema says of itself in words. Names of members in its path may hold slashes, as those that are patterns do. */
function descriptionAt(schema: unknown, path: string): string | undefined {
  if (typeof schema !== 'object' || schema === null) return undefined;
  const members = schema as Record<string, unknown>; // JSON Schema
  if (path === '') return typeof members.description === 'string' ? members.description : undefined;
  const name = Object.keys(members).find((key) => path === key || path.startsWith(`${key}/`));
  return name === undefined ? undefined : descriptionAt(members[name], path.slice(name.length + 1));
}
