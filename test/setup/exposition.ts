/** A strict reader of what Prometheus scrapes, in its text format 0.0.4: anything that the format does not allow is an error. */

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const nameShape = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const sampleShape = new RegExp(`^(${nameShape})(?:\\{(.*)\\})? (\\S+)$`);
const labelShape = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/gy;
const suffixes: Readonly<Record<string, readonly string[]>> = {
  counter: [''],
  gauge: [''],
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
};

/** Reads a scrape. Throws at the first line that is wrong. */
export function readExposition(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const families = new Map<string, Family & { samples: Sample[] }>();
  const seen = new Set<string>();
  let help: { name: string; text: string } | undefined;
  let family: (Family & { samples: Sample[] }) | undefined;
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const comment = new RegExp(`^# (HELP|TYPE) (${nameShape}) (.+)$`).exec(line);
    if (comment?.[1] === 'HELP') help = { name: comment[2]!, text: comment[3]! };
    else if (comment) {
      const [, , name = '', type = ''] = comment;
      if (help?.name !== name) throw new Error(`${name} has no help`);
      if (!suffixes[type]) throw new Error(`${name} is a ${type}`);
      if (families.has(name)) throw new Error(`${name} is there twice`);
      family = { name, type, help: help.text, samples: [] };
      families.set(name, family);
    } else {
      const sample = readSample(line);
      const at = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
      if (!family || !suffixes[family.type]!.some((suffix) => sample.name === family!.name + suffix))
        throw new Error(`${sample.name} stands under ${family?.name}`);
      if (seen.has(at)) throw new Error(`${at} is there twice`);
      seen.add(at);
      family.samples.push(sample);
    }
  }
  for (const each of families.values()) if (each.type === 'histogram') checkHistogram(each);
  return families;
}

function readSample(line: string): Sample {
  const [, name, inner, text] = sampleShape.exec(line) ?? [];
  if (name === undefined || text === undefined) throw new Error(`this is no sample: ${line}`);
  const value = Number(text.replace('Inf', 'Infinity'));
  if (Number.isNaN(value) && text !== 'NaN') throw new Error(`this is no value: ${line}`);
  const labels: Record<string, string> = {};
  let read = 0;
  for (const [whole, label, quoted] of inner?.matchAll(labelShape) ?? []) {
    if (labels[label!] !== undefined) throw new Error(`a label is there twice: ${line}`);
    labels[label!] = quoted!.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
    read += whole.length;
  }
  if (read !== (inner?.length ?? 0)) throw new Error(`these are no labels: ${line}`);
  return { name, labels, value };
}

/** Buckets grow, end at +Inf, and hold as many as are counted. */
function checkHistogram({ name, samples }: Family): void {
  const series = new Map<string, { bounds: [number, number][]; count?: number; sum?: number }>();
  for (const { name: sample, labels, value } of samples) {
    const { le, ...others } = labels;
    const key = JSON.stringify(Object.entries(others).sort());
    const one = series.get(key) ?? { bounds: [] };
    if (sample.endsWith('_bucket')) one.bounds.push([Number(le?.replace('Inf', 'Infinity')), value]);
    else if (sample.endsWith('_count')) one.count = value;
    else one.sum = value;
    series.set(key, one);
  }
  for (const [key, { bounds, count, sum }] of series) {
    const grows = bounds.every(
      ([le, value], at) => at === 0 || (le > bounds[at - 1]![0] && value >= bounds[at - 1]![1]),
    );
    const [last, all] = bounds.at(-1) ?? [];
    if (!grows || last !== Number.POSITIVE_INFINITY || all !== count || sum === undefined)
      throw new Error(`${name}${key} is no histogram`);
  }
}
