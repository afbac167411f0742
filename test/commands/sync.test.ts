/** Syncs and peers, decided: begun, gone on with, paused, ended; joined and left. */
import { describe, it } from 'vitest';
import { joinPeer, leavePeer, mostPeers, peer, syncedPeer } from '../../src/commands/peer.ts';
import { endSync, pauseSync, progressSync, resumeSync, startSync, sync } from '../../src/commands/sync.ts';
import { given } from './given.ts';

const syncId = '00000000-0000-7000-8000-000000000002';
const of = { sync_id: syncId, node_id: 'ada' };
const none = { rounds: 0, pulled: 0, pushed: 0, refused: 0, bytes: 0 };
const some = { rounds: 2, pulled: 3, pushed: 0, refused: 1, bytes: 900 };
const whole = { direction: 'both', scope: { mode: 'full' } } as const;
const started = { type: 'knowledge.sync-started', data: { ...of, ...whole } } as const;
const resumed = { type: 'knowledge.sync-resumed', data: of } as const;
const paused = (cause: 'asked' | 'node_gone') => ({ type: 'knowledge.sync-paused', data: { ...of, cause } }) as const;
const ended = { type: 'knowledge.sync-ended', data: { ...of, ...some, outcome: 'completed', cursor: 7 } } as const;
const byAda = { syncId, nodeId: 'ada' };

describe('a sync', () => {
  it('begins once', () => {
    const decided = given(sync).when(startSync, { ...byAda, ...whole });
    decided.gives(started);
    decided.answers({ syncId });
    given(sync, started)
      .when(startSync, { ...byAda, ...whole })
      .gives();
  });

  it('is gone on with by its node alone, wherever it stood', () => {
    given(sync, started).when(resumeSync, byAda).gives(resumed);
    given(sync, started, paused('asked')).when(resumeSync, byAda).gives(resumed);
    given(sync, started).when(resumeSync, { syncId, nodeId: 'bob' }).refused('not_found');
    given(sync).when(resumeSync, byAda).refused('not_found');
    given(sync, started, ended).when(resumeSync, byAda).refused('sync_over');
  });

  it('says how far it is, and the same only once', () => {
    const progressed = { type: 'knowledge.sync-progressed', data: { ...of, ...some } } as const;
    given(sync, started)
      .when(progressSync, { ...byAda, progress: some })
      .gives(progressed);
    given(sync, started, progressed)
      .when(progressSync, { ...byAda, progress: some })
      .gives();
    given(sync, started)
      .when(progressSync, { ...byAda, progress: none })
      .gives();
  });

  it('rests when it is asked to, by its node or who governs', () => {
    given(sync, started)
      .when(pauseSync, { ...byAda, cause: 'asked' })
      .gives(paused('asked'));
    given(sync, started).when(pauseSync, { syncId, nodeId: undefined, cause: 'asked' }).gives(paused('asked'));
    given(sync, started, paused('asked'))
      .when(pauseSync, { ...byAda, cause: 'asked' })
      .gives();
    given(sync, started, paused('node_gone'))
      .when(pauseSync, { ...byAda, cause: 'asked' })
      .gives(paused('asked'));
  });

  it('rests when its node is gone, but not when that goes on with it elsewhere', () => {
    const gone = { syncId, nodeId: undefined, cause: 'node_gone' } as const;
    given(sync, started)
      .when(pauseSync, { ...gone, tenure: 1 })
      .gives(paused('node_gone'));
    given(sync, started, resumed)
      .when(pauseSync, { ...gone, tenure: 1 })
      .gives();
    given(sync, started, paused('asked'))
      .when(pauseSync, { ...gone, tenure: 1 })
      .gives();
  });

  it('ends once, and the same end again is the same', () => {
    const completed = { ...byAda, outcome: 'completed', cursor: 7, progress: some } as const;
    const decided = given(sync, started).when(endSync, completed);
    decided.gives(ended);
    decided.answers({ cursor: 7 });
    const again = given(sync, started, ended).when(endSync, { ...completed, cursor: 9 });
    again.gives();
    again.answers({ cursor: 7 });
    given(sync, started, ended)
      .when(endSync, { ...completed, outcome: 'cancelled' })
      .refused('sync_over');
    given(sync, started)
      .when(endSync, { ...completed, nodeId: 'bob' })
      .refused('not_found');
  });

  it('that is cancelled keeps what was written of it last', () => {
    const progressed = { type: 'knowledge.sync-progressed', data: { ...of, ...some } } as const;
    const cancelled = {
      syncId,
      nodeId: undefined,
      outcome: 'cancelled',
      cursor: undefined,
      progress: undefined,
    } as const;
    given(sync, started, progressed)
      .when(endSync, cancelled)
      .gives({ type: 'knowledge.sync-ended', data: { ...of, ...some, outcome: 'cancelled' } });
  });
});

describe('a peer', () => {
  const link = { peer_id: 'far', url: 'https://far.example', node_id: 'near', every_seconds: 60, ...whole };
  const joined = { type: 'peer.joined', data: link } as const;

  it('is joined, changed and left', () => {
    given(peer).when(joinPeer, { link, others: 0 }).gives(joined);
    given(peer, joined).when(joinPeer, { link, others: 1 }).gives();
    const slower = { ...link, every_seconds: 90 };
    given(peer, joined).when(joinPeer, { link: slower, others: 1 }).gives({ type: 'peer.joined', data: slower });
    given(peer, joined)
      .when(leavePeer, { peerId: 'far' })
      .gives({ type: 'peer.left', data: { peer_id: 'far' } });
    given(peer).when(leavePeer, { peerId: 'far' }).refused('not_found');
  });

  it('is the same hub under the same name, for as long as it is one', () => {
    const elsewhere = { ...link, url: 'https://other.example' };
    given(peer, joined).when(joinPeer, { link: elsewhere, others: 1 }).refused('conflict');
    given(peer, joined, { type: 'peer.left', data: { peer_id: 'far' } })
      .when(joinPeer, { link: elsewhere, others: 0 })
      .gives({ type: 'peer.joined', data: elsewhere });
  });

  it('is one of a stated number', () => {
    given(peer).when(joinPeer, { link, others: mostPeers }).refused('limit_reached');
    given(peer, joined).when(joinPeer, { link, others: mostPeers }).gives();
  });

  it('that was left is told nothing of any more', () => {
    const synced = { peer_id: 'far', ...some, outcome: 'completed' } as const;
    given(peer, joined).when(syncedPeer, synced).gives({ type: 'peer.synced', data: synced });
    given(peer).when(syncedPeer, synced).gives();
  });
});
