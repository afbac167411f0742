/** The order of what was found: BM25 over words as they are kept, one law for both databases. */

import { patternOf } from './match.ts';
import type { Term } from './query.ts';

export interface Candidate {
  readonly id: string;
  readonly position: number;
  /** As kept. */
  readonly title: string;
  readonly text: string;
}

export interface Ranked {
  readonly id: string;
  readonly position: number;
  readonly score: number;
}

/** How rare each of the terms is: of so many documents, so many have it. */
export interface Sample {
  readonly documents: number;
  readonly having: readonly number[];
}

/** How soon it stops to matter how often a word is there; how much a long text must hold it more often; how much a title counts. */
const saturation = 1.2;
const lengthWeight = 0.75;
const titleWeight = 4;

/** The best first; of equals the newest. */
export function ranked(candidates: readonly Candidate[], terms: readonly Term[], sample: Sample): Ranked[] {
  const patterns = terms.map(patternOf);
  const weights = sample.having.map((having) => rarity(Math.max(sample.documents, having), having));
  const lengths = candidates.map(({ title, text }) => title.length + text.length);
  const mean = lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length);
  const scored = candidates.map(({ id, position, title, text }, at) => {
    const drag = saturation * (1 - lengthWeight + (lengthWeight * lengths[at]!) / mean);
    let score = 0;
    for (const [which, pattern] of patterns.entries()) {
      const times = timesIn(text, pattern) + titleWeight * timesIn(title, pattern);
      score += (weights[which]! * times * (saturation + 1)) / (times + drag);
    }
    return { id, position, score };
  });
  return scored.sort(before);
}

/** Orders by score, then newest first. */
export function before(one: Omit<Ranked, 'id'>, other: Omit<Ranked, 'id'>): number {
  return other.score - one.score || other.position - one.position;
}

function rarity(documents: number, having: number): number {
  return Math.log(1 + (documents - having + 0.5) / (having + 0.5));
}

function timesIn(text: string, pattern: string): number {
  let times = 0;
  for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + pattern.length)) times++;
  return times;
}
