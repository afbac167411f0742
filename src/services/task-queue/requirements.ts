/** What a task asks of a node and what a node can do, and the keys under which the one finds the other without a scan. Pure. */
import { canonicalJson } from '../../canonical-json.ts';
import type { Requirements } from '../../events/task.ts';

export interface Wanted {
  readonly type: string;
  readonly requirements: Requirements;
}

export interface Skills {
  readonly nodeId: string;
  /** Types of tasks that it takes; undefined: any. */
  readonly types: ReadonlySet<string> | undefined;
  readonly capabilities: ReadonlySet<string>;
  readonly labels: Readonly<Record<string, string>>;
  /** Its models, with the tokens that each takes; 0 where that is not known. */
  readonly models: ReadonlyMap<string, number>;
}

/** One text for all tasks that any node can do either all or none of. */
export function signatureOf({ type, requirements }: Wanted): string {
  for (const _ in requirements) return `${type} ${canonicalJson(requirements)}`;
  return type;
}

export function canDo(skills: Skills, { type, requirements }: Wanted): boolean {
  const { node, model, min_context = 0, capabilities = [], labels } = requirements;
  if (skills.types && !skills.types.has(type)) return false;
  if (node !== undefined && node !== skills.nodeId) return false;
  if (model !== undefined && !((skills.models.get(model) ?? -1) >= min_context)) return false;
  for (const capability of capabilities) if (!skills.capabilities.has(capability)) return false;
  for (const name in labels) if (skills.labels[name] !== labels[name]) return false;
  return true;
}

/** Under these keys a task is found: by every node that could do it, and by few others. */
export function keysOfWanted({ type, requirements }: Wanted): readonly string[] {
  const { node, model, capabilities, labels = {} } = requirements;
  if (node !== undefined) return [`node ${node}`];
  if (model !== undefined) return [`model ${model}`];
  if (capabilities?.[0] !== undefined) return [`capability ${capabilities[0]}`];
  const [label] = Object.entries(labels);
  if (label) return [`label ${label[0]}=${label[1]}`];
  return [`type ${type}`, anyType];
}

/** Under these keys a node looks for tasks, and is found by them. */
export function keysOfSkills({ nodeId, types, capabilities, labels, models }: Skills): string[] {
  const keys = [`node ${nodeId}`];
  for (const model of models.keys()) keys.push(`model ${model}`);
  for (const capability of capabilities) keys.push(`capability ${capability}`);
  for (const name in labels) keys.push(`label ${name}=${labels[name]}`);
  if (types) for (const type of types) keys.push(`type ${type}`);
  else keys.push(anyType);
  return keys;
}

/** Of nodes that take any type, and of tasks that ask for nothing but their type. */
const anyType = 'any type';
