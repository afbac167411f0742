/** Random histories of a federation: every type of event, sound and unsound, with segments of readings rolled up and dropped. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type { DomainEvent, EventData, EventType } from '../../src/events/catalog.ts';
import { streamClass } from '../../src/events/catalog.ts';
import type { HealthHour } from '../../src/events/health.ts';
import type { HeartbeatHour } from '../../src/events/heartbeat.ts';
import { foldHealth, foldHeartbeat, hourOf } from '../../src/events/hours.ts';
import type { Page, Recorded } from '../../src/events/log.ts';
import type { ShareRule } from '../../src/events/sovereignty.ts';
import { foldContext } from '../../src/projections/project.ts';
import { streamOf } from './facts.ts';

/** Written by the dropping of a segment, never at random: a roll-up that lies about what it replaces is no history. */
type DropTypes = 'heartbeat.rolled-up' | 'health.rolled-up' | 'log.segment-dropped';

const oddText = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom(
    '\0',
    'a\0b',
    '\ud800',
    '😀',
    'e\u0301',
    "O'Neill",
    '{1,2}',
    '\\',
    '"',
    'NULL',
    ' ',
    'x'.repeat(4_000),
  ),
);
const node_id = fc.constantFrom('a', 'b', 'A.b', 'n-1', 'null');
const percent = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.double({ min: 0, max: 100, noNaN: true }));
const count = fc.nat({ max: 9 });
const services = fc.dictionary(
  fc.constantFrom('ollama', '7', '__proto__', 'é'),
  fc.record({ status: fc.constantFrom('running' as const, 'stopped' as const) }, { requiredKeys: [] }),
);
const reading = fc.record(
  {
    services,
    resources: fc.record({ cpu_percent: percent, memory_percent: percent, gpu_percent: percent }, { requiredKeys: [] }),
    active_tasks: count,
  },
  { requiredKeys: [] },
);
const profile = fc.record(
  {
    display_name: oddText,
    owner: oddText,
    services,
    sovereignty: fc.dictionary(oddText, fc.jsonValue({ maxDepth: 2 })),
  },
  { requiredKeys: [] },
);
const measure = fc.constantFrom('cpu' as const, 'disk' as const);
const level = fc.constantFrom('warning' as const, 'critical' as const);
const shed = fc.constantFrom('normal' as const, 'reduced' as const, 'core' as const);
const mode = fc.constantFrom('open' as const, 'approval' as const, 'invite' as const);
const role = fc.constantFrom('admin' as const, 'member' as const);
const invite_id = fc.constantFrom('i1', 'i2');
const session_id = fc.constantFrom('socket.1', 'socket.2', 'http.1', 'odd', '\0.x');
const thumbprint = fc.constantFrom('k1', 'k2');
const suspicion = { node_id, phi: fc.double({ min: 0, max: 20, noNaN: true }), silent_ms: count };
const mean = fc.oneof(fc.constant(null), fc.nat({ max: 10_000 }));

const entityProfile = fc.record(
  {
    display_name: oddText,
    capabilities: fc.array(oddText, { maxLength: 3 }),
    metadata: fc.dictionary(oddText, oddText),
  },
  { requiredKeys: [] },
);

const shortText = oddText.filter((text) => text.length <= 512);
const task_id = fc.constantFrom('t1', 't2');
const lease = fc.integer({ min: 1, max: 3 });
const content = fc.oneof(fc.constant({}), fc.record({ value: fc.jsonValue({ maxDepth: 2 }) }));
const taskError = fc.record({ code: fc.constantFrom('broken', 'x'), message: oddText });
const taskType = fc.constantFrom('words', 'hash');
const priority = fc.integer({ min: 1, max: 10 });
const requirements = fc.record(
  {
    capabilities: fc.uniqueArray(fc.constantFrom('gpu', 'é'), { maxLength: 2 }),
    node: node_id,
    labels: fc.constant({ zone: 'a' }),
  },
  { requiredKeys: [] },
);
const callback = fc.constantFrom(
  { kind: 'socket' as const },
  { kind: 'webhook' as const, url: 'https://example.org/hook' },
);
const backoff = fc.constant({ kind: 'fixed' as const, delay_ms: 10, max_ms: 10 });
const service = fc.constantFrom('ollama', '7');
const subscription_id = fc.constantFrom('s1', 's2');

const uuids = [1, 2, 3].map((at) => `00000000-0000-4000-8000-00000000000${at}`);
const message_id = fc.constantFrom(...uuids);
const box = fc.constantFrom('node:a', 'channel:é', 'everyone');
const from = fc.constantFrom('node:a', 'operator:x', '\0');
const address = fc.constantFrom({ node: 'a' }, { channel: 'c' }, { everyone: true as const });
const file_id = fc.constantFrom('00000000-0000-4000-8000-00000000f11e', '00000000-0000-4000-8000-00000000f12e');
const hash = fc.constantFrom('0'.repeat(64), 'f'.repeat(64));
const expires_at = fc.constantFrom('2026-03-01T11:00:00.000Z', '2026-03-02T11:00:00.000Z');
const file = {
  file_id,
  owner: from,
  name: oddText.map((text) => text.slice(0, 255)),
  media_type: fc.constant('text/plain'),
  size: count,
  to: fc.constantFrom({ node: 'a' }, { role: 'admin' as const }, { everyone: true as const }),
  box: fc.constantFrom('node:a', 'role:admin', 'everyone'),
  once: fc.boolean(),
  expires_at,
};
const fileKeys = ['file_id', 'owner', 'name', 'media_type', 'size', 'to', 'box', 'once', 'expires_at'] as const;
const aboutMessage = { message_id, box, from, sent_position: count, expires_at };
const sealed = fc.constant({ subject: 'mail:node:a', key_id: 'k', sealed: 'AAAA' });
const entryHash = fc.constantFrom('E'.repeat(43), 'F'.repeat(43));
const inChain = { node_id, chain: message_id, by: node_id };
const channel = fc.constantFrom('c', 'd');
const memory_id = fc.constantFrom('m1', 'm2@f');
const author = fc.constantFrom('node:a', 'node:b', 'node:c@f');
const clock = fc.tuple(fc.integer({ min: 1, max: 4 }), author).map(([at, who]) => `00000000000000${at}-000000-${who}`);
const version = {
  memory_id,
  version: fc.integer({ min: 0, max: 1e9 }).map((at) => String(at).padStart(64, '0')),
  clock,
  owner: author,
  author,
  category: fc.constantFrom('recipes', 'recipes/bread'),
  tags: fc.uniqueArray(shortText, { maxLength: 2 }),
  seen: fc.dictionary(author, clock, { maxKeys: 2 }),
  foreign: fc.record(
    {
      federation: fc.constant('f'),
      hops: fc.constant<string[]>(['f']),
      pass_on: fc.boolean(),
      until: fc.constantFrom('2026-03-01T11:00:00.000Z', '2026-03-02T11:00:00+02:00', 'never'),
    },
    { requiredKeys: ['federation', 'hops', 'pass_on'] },
  ),
};
const versionKeys = ['memory_id', 'version', 'clock', 'owner', 'author', 'category', 'tags', 'seen'] as const;
const shareRule = fc.constant<ShareRule>({ id: 'r', categories: ['*'], with: { everyone: true } });
const sync = { sync_id: message_id, node_id };
const progress = { rounds: count, pulled: count, pushed: count, refused: count, bytes: count };
const scope = fc.constantFrom({ mode: 'full' as const }, { mode: 'incremental' as const, since: 3 });
const direction = fc.constantFrom('pull' as const, 'both' as const);
const memory_ids = fc.array(memory_id, { minLength: 1, maxLength: 3 });
const secret_id = fc.constantFrom('a:s', '@federation:s');
const parties = fc.record(
  { nodes: fc.constant<string[]>(['b']), operators: fc.constant(true as const) },
  { requiredKeys: [] },
);
const access = fc.record({ readers: parties, writers: parties });
const peer_id = fc.constantFrom('p1', 'p2');

const data: { [T in Exclude<EventType, DropTypes>]: fc.Arbitrary<EventData<T>> } = {
  'federation.founded': fc.record({ federation_id: oddText, mode }),
  'governance.mode-changed': fc.record({ mode, previous: mode }),
  'node.registered': fc.record({
    node_id,
    public_key: oddText,
    role,
    profile,
  }),
  'node.updated': fc.record({ node_id, profile }),
  'node.suspected': fc.record(suspicion),
  'node.cleared': fc.record({ node_id }),
  'node.lost': fc.record({ ...suspicion, cause: fc.constantFrom('suspicion' as const, 'hard_limit' as const) }),
  'node.left': fc.record({ node_id }),
  'node.returned': fc.record({ node_id, away_ms: count }),
  'node.removed': fc.record({ node_id, cause: fc.constantFrom('itself' as const, 'operator' as const) }),
  'key.reserved': fc.record({ thumbprint, node_id, expires_at: oddText }),
  'key.confirmed': fc.record({ thumbprint, node_id }),
  'key.released': fc.record({ thumbprint, node_id }),
  'session.opened': fc.record({
    node_id,
    session_id,
    transport: fc.constantFrom('socket' as const, 'http' as const),
    address: oddText,
  }),
  'session.renewed': fc.record({ node_id, session_id, expires_at: oddText }),
  'session.ended': fc.record({ node_id, session_id, cause: oddText }),
  'operator-token.created': fc.record({
    prefix: oddText,
    hash: oddText,
    label: oddText,
    scopes: fc.array(oddText, { maxLength: 3 }),
  }),
  'heartbeat.received': fc.tuple(node_id, reading).map(([node_id, reading]) => ({ node_id, ...reading })),
  'alert.opened': fc.record({ node_id, measure, level, percent, threshold: percent }),
  'alert.changed': fc.record({ node_id, measure, level, percent, threshold: percent }),
  'alert.closed': fc.record({ node_id, measure, percent: fc.oneof(fc.constant(null), percent) }),
  'health.measured': fc.record({
    online: count,
    suspect: count,
    offline: count,
    services_running: count,
    services_degraded: count,
    services_stopped: count,
    alerts_warning: count,
    alerts_critical: count,
    cpu: mean,
    memory: mean,
  }),
  'node.role-changed': fc.record({ node_id, role, previous: role }),
  'node.key-rotated': fc.record({ node_id, public_key: oddText, previous: oddText }),
  'key.retired': fc.record({ thumbprint, node_id, cause: fc.constantFrom('rotated' as const, 'revoked' as const) }),
  'session.revoked': fc.record({ node_id, reason: oddText }),
  'operator-token.revoked': fc.record({ prefix: oddText }),
  'operator-token.used': fc.record({ prefix: oddText, address: oddText }),
  'governance.announced': fc.record({
    announcement_id: oddText,
    message: oddText,
    level: fc.constantFrom('info' as const, 'critical' as const),
  }),
  'join.requested': fc.record({ node_id, public_key: oddText, profile, address: oddText, expires_at: oddText }),
  'join.repeated': fc.record({ node_id, address: oddText }),
  'join.approved': fc.record({ node_id, public_key: oddText, role }),
  'join.rejected': fc.record({ node_id, reason: oddText }),
  'join.expired': fc.record({ node_id }),
  'invite.created': fc.record(
    { invite_id, hash: oddText, label: oddText, role, uses: count, node_id, public_key: oddText, expires_at: oddText },
    { requiredKeys: ['invite_id', 'hash', 'label', 'role', 'uses', 'expires_at'] },
  ),
  'invite.claimed': fc.record({ invite_id, node_id, thumbprint, expires_at: oddText }),
  'invite.used': fc.record({ invite_id, node_id }),
  'invite.released': fc.record({ invite_id, node_id }),
  'invite.revoked': fc.record({ invite_id }),
  'ban.imposed': fc.record({ node_id, thumbprint: fc.oneof(fc.constant(null), thumbprint), reason: oddText }),
  'ban.lifted': fc.record({ node_id }),
  'degradation.changed': fc.record({
    replica: fc.constantFrom('r1', 'r2', 'order'),
    from: shed,
    to: shed,
    cause: fc.constantFrom('load' as const, 'order' as const, 'stopped' as const, 'silent' as const),
    signals: fc.array(
      fc.record({ signal: fc.constantFrom('heap' as const, 'append' as const), value: percent, level: shed }),
      { maxLength: 3 },
    ),
  }),
  'degradation.ordered': fc.record(
    { level: shed, until: oddText, reason: oddText },
    { requiredKeys: ['level', 'until'] },
  ),
  'degradation.order-lifted': fc.constant({}),
  'task.submitted': fc.record(
    {
      task_id,
      type: taskType,
      submitter: oddText,
      payload: content,
      file: shortText,
      priority,
      requirements,
      deadline: oddText,
      max_attempts: fc.integer({ min: 1, max: 5 }),
      backoff,
      callback,
    },
    {
      requiredKeys: ['task_id', 'type', 'submitter', 'payload', 'priority', 'requirements', 'max_attempts', 'backoff'],
    },
  ),
  'task.assigned': fc.record({
    task_id,
    node_id,
    lease,
    how: fc.constantFrom('push' as const, 'claim' as const),
    ack_by: oddText,
    considered: count,
    candidates: fc.array(fc.record({ node_id, score: percent, why: fc.constant({ load: 1, loaded: true }) }), {
      maxLength: 2,
    }),
  }),
  'task.started': fc.record({ task_id, node_id, lease }),
  'task.progressed': fc.record(
    { task_id, node_id, lease, percent, message: shortText },
    { requiredKeys: ['task_id', 'node_id', 'lease'] },
  ),
  'task.completed': fc.record({ task_id, node_id, lease, result: content }),
  'task.attempt-failed': fc.record({
    task_id,
    node_id,
    lease,
    cause: fc.constantFrom('reported' as const, 'node_gone' as const),
    error: taskError,
    counted: fc.boolean(),
    retry_at: oddText,
  }),
  'task.failed': fc.record(
    { task_id, cause: fc.constantFrom('attempts' as const, 'deadline' as const), error: taskError, node_id, lease },
    { requiredKeys: ['task_id', 'cause', 'error'] },
  ),
  'task.cancelled': fc.record({ task_id, reason: shortText, node_id, lease }, { requiredKeys: ['task_id'] }),
  'task.retried': fc.record(
    { task_id, type: taskType, submitter: oddText, priority, requirements, callback, lease, sensitive: fc.boolean() },
    { requiredKeys: ['task_id', 'type', 'submitter', 'priority', 'requirements', 'lease'] },
  ),
  'task.callback-delivered': fc.record({ task_id, status: count, attempts: count }),
  'task.callback-failed': fc.record({ task_id, error: shortText, attempts: count }),
  'models.declared': fc.record({
    node_id,
    models: fc.array(fc.record({ model_id: fc.constantFrom('m1', 'é'), context_length: lease }), { maxLength: 2 }),
  }),
  'circuit.opened': fc.record({ node_id, service, failures: count, error: fc.constant('refused') }),
  'circuit.closed': fc.record({ node_id, service }),
  'subscription.created': fc.record(
    {
      subscription_id,
      owner: oddText,
      label: fc.constantFrom('', 'é'),
      patterns: fc.constant(['node.*']),
      filter: fc.constant({ node_id: 'a' }),
      delivery: fc.constant({ kind: 'cursor' as const }),
      after: count,
    },
    { requiredKeys: ['subscription_id', 'owner', 'label', 'patterns', 'delivery', 'after'] },
  ),
  'subscription.advanced': fc.record({ subscription_id, position: count }),
  'subscription.paused': fc.record({ subscription_id, reason: fc.constant('failed'), failures: count }),
  'subscription.resumed': fc.record({ subscription_id }),
  'subscription.deleted': fc.record({ subscription_id }),
  'channel.joined': fc.record({ channel, node_id }),
  'channel.left': fc.record({ channel, node_id, cause: fc.constant('itself' as const) }),
  'message.sent': fc.record(
    {
      message_id: fc.uuid(),
      from,
      to: address,
      box,
      content: sealed,
      bytes: count,
      correlation_id: oddText,
      reply_to: address,
      expires_at,
      without: fc.array(node_id, { maxLength: 2 }),
    },
    { requiredKeys: ['message_id', 'from', 'to', 'box', 'content', 'bytes', 'expires_at'] },
  ),
  'message.expired': fc.record({ ...aboutMessage, unreached: fc.array(node_id, { maxLength: 2 }), others: count }),
  'message.refused': fc.record({ ...aboutMessage, node_id, code: fc.constant('banned'), reason: shortText }),
  'message.read': fc.record({ ...aboutMessage, node_id }),
  'message.received': fc.record({ ...aboutMessage, node_id, at: oddText }),
  'roster.issued': fc.record({ roster_id: message_id, issued_at: oddText, expires_at: oddText, members: count }),
  'p2p.claimed': fc.record({
    ...inChain,
    entries: fc.array(fc.record({ seq: count.map((at) => at + 1), entry: entryHash }), { maxLength: 3 }),
  }),
  'p2p.returned': fc.record({ ...inChain, through: count.map((at) => at + 1) }),
  'p2p.refused': fc.record({
    ...inChain,
    seq: count.map((at) => at + 1),
    entry: entryHash,
    code: fc.constantFrom('chain_gap', 'banned'),
    reason: shortText,
  }),
  'mail.delivered': fc.record({ node_id, through: count }),
  'mail.purged': fc.record({ before: expires_at }),
  'messages.counted': fc.record({
    from,
    to: box,
    minute: oddText,
    messages: fc.integer({ min: 1, max: 9 }),
    bytes: count,
  }),
  'file.begun': fc.record(
    { ...file, upload_until: expires_at, sha256: hash },
    { requiredKeys: [...fileKeys, 'upload_until'] },
  ),
  'file.stored': fc.record({ ...file, sha256: hash }),
  'file.refused': fc.record({ file_id, owner: from, code: fc.constant('hash_mismatch'), reason: shortText }),
  'file.abandoned': fc.record({ file_id, owner: from, cause: fc.constant('lapsed' as const) }),
  'file.fetched': fc.record(
    { file_id, owner: from, by: fc.constantFrom('node:a', 'operator:x'), whole: fc.boolean(), late: fc.boolean() },
    { requiredKeys: ['file_id', 'owner', 'by', 'whole'] },
  ),
  'file.expired': fc.record({ file_id, owner: from, sha256: hash }),
  'file.removed': fc.record({ file_id, owner: from, sha256: hash, cause: fc.constant('owner' as const) }),
  'memory.stored': fc.record(
    { ...version, content: sealed, content_hash: fc.constant('0'.repeat(64)), bytes: count },
    { requiredKeys: [...versionKeys, 'content', 'content_hash', 'bytes'] },
  ),
  'memory.deleted': fc.record(version, { requiredKeys: [...versionKeys] }),
  'memory.let-go': fc.record({ memory_id, clock, cause: fc.constant('asked' as const) }),
  'sovereignty.declared': fc.record({
    subject: fc.constantFrom('a', 'b', '@federation'),
    version: lease,
    shares: fc.array(shareRule, { maxLength: 1 }),
    takes: fc.array(shareRule, { maxLength: 1 }),
  }),
  'knowledge.sync-started': fc.record({ ...sync, direction, scope }),
  'knowledge.sync-progressed': fc.record({ ...sync, ...progress }),
  'knowledge.sync-paused': fc.record({ ...sync, cause: fc.constantFrom('asked' as const, 'node_gone' as const) }),
  'knowledge.sync-resumed': fc.record(sync),
  'knowledge.sync-ended': fc.record(
    {
      ...sync,
      ...progress,
      outcome: fc.constantFrom('completed' as const, 'failed' as const),
      error: shortText,
      cursor: count,
    },
    { requiredKeys: ['sync_id', 'node_id', 'outcome', 'rounds', 'pulled', 'pushed', 'refused', 'bytes'] },
  ),
  'knowledge.moved': fc.record({
    holder: node_id,
    items: fc.array(
      fc.record(
        {
          memory_id,
          version: version.version,
          subject: node_id,
          rule: fc.constant('r'),
          policy_version: lease,
          pass_on: fc.boolean(),
          until: oddText,
        },
        { requiredKeys: ['memory_id', 'version', 'subject', 'rule', 'policy_version', 'pass_on'] },
      ),
      { minLength: 1, maxLength: 3 },
    ),
  }),
  'knowledge.withdrawal-asked': fc.record({ holder: node_id, memory_ids, cause: fc.constant('policy' as const) }),
  'knowledge.withdrawn': fc.record({
    holder: node_id,
    memory_ids,
    outcome: fc.constantFrom('honoured' as const, 'declined' as const),
  }),
  'peer.joined': fc.record({
    peer_id,
    url: fc.constant('https://example.org'),
    node_id,
    scope,
    direction,
    every_seconds: lease,
  }),
  'peer.left': fc.record({ peer_id }),
  'peer.synced': fc.record(
    { peer_id, ...progress, outcome: fc.constantFrom('completed' as const, 'failed' as const), error: shortText },
    { requiredKeys: ['peer_id', 'outcome', 'rounds', 'pulled', 'pushed', 'refused', 'bytes'] },
  ),
  'secret.stored': fc.record(
    {
      secret_id,
      secret_version: lease,
      node_id: fc.oneof(fc.constant(null), node_id),
      key_id: oddText,
      sealed: oddText,
      access,
    },
    { requiredKeys: ['secret_id', 'secret_version', 'node_id', 'key_id', 'sealed'] },
  ),
  'secret.access-changed': access.map((parties) => ({ secret_id: 'a:s', ...parties })),
  'secret.version-destroyed': fc.record({ secret_id, secret_version: lease, cause: fc.constant('asked' as const) }),
  'secret.deleted': fc.record({ secret_id, cause: fc.constant('node_removed' as const) }),
  'secret.used': fc.record({ secret_id, secret_version: lease, by: from, through: oddText }),
  'vault.rotation-asked': fc.record({ from: oddText, to: oddText }, { requiredKeys: ['from'] }),
  'vault.master-rotated': fc.record({ from: oddText, to: oddText, keys: count }),
  'admin.appointed': fc.record({ admin: oddText }),
  'admin.dismissed': fc.record({ admin: oddText }),
  'access.blocked': fc.record({ subject: node_id, reason: oddText }),
  'access.unblocked': fc.record({ subject: node_id }),
  'access.allowed': fc.record({ subject: node_id, note: oddText }, { requiredKeys: ['subject'] }),
  'access.disallowed': fc.record({ subject: node_id }),
  'entity.registered': fc.record({
    entity_id: node_id,
    kind: fc.constantFrom('ai' as const, 'bridge' as const),
    node_id: fc.oneof(fc.constant(null), node_id),
    profile: entityProfile,
  }),
  'entity.updated': fc.record({ entity_id: node_id, profile: entityProfile }),
  'entity.seen': fc.record({ entity_id: node_id }),
  'entity.unregistered': fc.record({
    entity_id: node_id,
    cause: fc.constantFrom('owner' as const, 'node_removed' as const),
  }),
  'limits.set': fc.record({ node_id, limits: fc.record({ requests: count, messages: count }, { requiredKeys: [] }) }),
  'limits.warned': fc.record({ who: oddText, limit: fc.constant('requests' as const), used: percent, allowed: count }),
  'audit.refused': fc.record({
    actor: oddText,
    address: oddText,
    action: oddText,
    target: oddText,
    code: oddText,
    count,
    first_at: oddText,
    last_at: oddText,
  }),
  'audit.read': fc.record({ actor: oddText, address: oddText, action: oddText, target: oddText }),
  'audit.reads-counted': fc.record({ actor: oddText, minute: oddText, reads: count }),
  'audit.trimmed': fc.record({ through: fc.nat({ max: 60 }) }),
  'keyring.rotated': fc.record({ kid: oddText, active_at: oddText }),
  'keyring.subject-erased': fc.record({ subject: oddText, keys: count }),
  'views.rebuild-requested': fc.record({ rebuild_id: fc.uuid() }),
  'views.rebuilt': fc.record({ rebuild_id: fc.uuid(), generation: count, events: count, digest: oddText }),
};

const types = Object.keys(data) as (keyof typeof data)[]; // the keys that the type above names
const sound: fc.Arbitrary<DomainEvent> = fc
  .oneof(
    { weight: 6, arbitrary: fc.constant('heartbeat.received' as const) },
    { weight: 20, arbitrary: fc.constantFrom(...types) },
  )
  .chain((type) => (data[type] as fc.Arbitrary<object>).map((data) => ({ type, data }) as unknown as DomainEvent)); // of that type, just made

/** Data that no fold was made for, in a kept stream of a type that has one. */
const unsound = fc.record({
  type: fc.constantFrom('node.registered', 'node.updated', 'session.opened', 'alert.opened', 'key.confirmed'),
  stream: fc.constantFrom('node-a', 'session-b', 'alert-a', 'node-\ud800'),
  text: fc.constantFrom(
    '',
    'null',
    '{}',
    '[]',
    '{"node_id":7}',
    '{"node_id":"a","profile":null}',
    '{"node_id":{}}',
    '{"data":1',
  ),
});

export type Step =
  | { readonly step: 'tell'; readonly event: DomainEvent; readonly minutes: number }
  | { readonly step: 'garble'; readonly type: string; readonly stream: string; readonly text: string }
  | { readonly step: 'project'; readonly limit: number }
  | { readonly step: 'drop' };

export const history: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 30,
      arbitrary: fc.record({
        step: fc.constant('tell' as const),
        event: sound,
        minutes: fc.integer({ min: -30, max: 45 }),
      }),
    },
    { weight: 1, arbitrary: unsound.map((odd) => ({ step: 'garble' as const, ...odd })) },
    {
      weight: 4,
      arbitrary: fc.record({ step: fc.constant('project' as const), limit: fc.integer({ min: 1, max: 30 }) }),
    },
    { weight: 2, arbitrary: fc.constant({ step: 'drop' as const }) },
  ),
  { minLength: 1, maxLength: 120 },
);

export const segmentSize = 8;

const metas = [
  { actor: 'hub', correlation: 'c', replica: 'r' },
  { actor: 'node:\0\ud800', address: '2001:db8::1', correlation: 'é', causation: '', replica: 'r' },
  { actor: 'x'.repeat(4_000), address: 'y'.repeat(4_000), correlation: '', traceparent: 't', replica: 'r' },
];

/** A log in memory, as far as projecting reads one, whose segments can be rolled up and dropped. */
export class HistoryLog {
  #events: Recorded[] = [];
  #head = 0;
  #dropped = new Set<number>();
  #time = Date.parse('2026-03-01T10:00:00Z');

  get head(): number {
    return this.#head;
  }

  tell(event: DomainEvent, minutes: number): void {
    this.#time += minutes * 60_000;
    this.append(event.type, streamOf(event), JSON.stringify(event.data));
  }

  append(type: string, stream: string, text: string): void {
    this.#head++;
    this.#events.push({
      position: this.#head,
      stream,
      revision: this.#head,
      id: randomUUID(),
      type,
      version: 1,
      time: new Date(this.#time).toISOString(),
      data: text,
      meta: JSON.stringify(metas[this.#head % metas.length]),
    });
  }

  page(after: number, limit: number): Page {
    const events = this.#events.filter((event) => event.position > after).slice(0, limit);
    return { events, through: events.length === limit ? events.at(-1)!.position : this.#head };
  }

  /** Rolls up and drops all closed segments that everyone has read up to `read`. */
  drop(read: number): void {
    const { segmentOf } = foldContext(segmentSize);
    const readings = this.#events.filter((event) => streamClass(event.stream) === 'transient');
    for (const from of new Set(readings.map((event) => segmentOf(event.position)))) {
      const to = from + segmentSize - 1;
      if (to > read || this.#dropped.has(from)) continue;
      const gone = readings.filter((event) => segmentOf(event.position) === from);
      for (const rolled of rollUp(gone, from)) this.tell(rolled, 0);
      this.tell({ type: 'log.segment-dropped', data: { from, to, count: gone.length, root: '' } }, 0);
      this.#dropped.add(from);
      this.#events = this.#events.filter((event) => !gone.includes(event));
    }
  }
}

function rollUp(readings: readonly Recorded[], segment: number): DomainEvent[] {
  const beats = new Map<string, HeartbeatHour>();
  const health = new Map<string, HealthHour>();
  for (const { type, position, time, data: text } of readings) {
    const data = JSON.parse(text);
    const hour = hourOf(time);
    if (type === 'health.measured') health.set(hour, foldHealth(health.get(hour), data, segment, hour));
    else if (type === 'heartbeat.received')
      beats.set(
        `${data.node_id}/${hour}`,
        foldHeartbeat(beats.get(`${data.node_id}/${hour}`), { position, time, data }, segment),
      );
  }
  return [
    ...Array.from(beats.values(), (data) => ({ type: 'heartbeat.rolled-up' as const, data })),
    ...Array.from(health.values(), (data) => ({ type: 'health.rolled-up' as const, data })),
  ];
}
