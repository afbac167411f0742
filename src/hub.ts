/** One replica of the hub as its services see it: what `main.ts` puts together. */
import type { Executor } from './commands/execute.ts';
import type { Config } from './config.ts';
import type { Doors } from './doors.ts';
import type { Egress } from './egress.ts';
import type { EventLog } from './events/log.ts';
import type { Jobs } from './jobs.ts';
import type { Kernel } from './kernel.ts';
import type { Keyring } from './keyring.ts';
import type { Leases } from './lease.ts';
import type { ServiceStatus } from './lifecycle.ts';
import type { Metrics } from './metrics.ts';
import type { AccessRow } from './projections/access-lists.ts';
import type { AdminRow } from './projections/admins.ts';
import type { AlertRow } from './projections/alerts.ts';
import type { BanRow } from './projections/bans.ts';
import type { ChannelMemberRow } from './projections/channels.ts';
import type { DegradationRow } from './projections/degradation.ts';
import type { EntityRow } from './projections/entities.ts';
import type { FederationRow } from './projections/federation.ts';
import type { InviteRow } from './projections/invites.ts';
import type { JoinRow } from './projections/joins.ts';
import type { KeyRow } from './projections/keys.ts';
import type { LimitsRow } from './projections/limits.ts';
import type { LiveView } from './projections/live.ts';
import type { MailboxRow } from './projections/mailboxes.ts';
import type { ModelsRow } from './projections/models.ts';
import type { NewestRosterRow } from './projections/newest-roster.ts';
import type { NodeRow } from './projections/nodes.ts';
import type { OpenTaskRow } from './projections/open-tasks.ts';
import type { OperatorTokenRow } from './projections/operator-tokens.ts';
import type { PeerRow } from './projections/peers.ts';
import type { SecretRow } from './projections/secrets.ts';
import type { SessionRow } from './projections/sessions.ts';
import type { SovereigntyRow } from './projections/sovereignty.ts';
import type { SubscriptionRow } from './projections/subscriptions.ts';
import type { Views } from './projections/views.ts';
import type { Readiness } from './readiness.ts';
import type { SearchIndex } from './search.ts';
import type { Tracer } from './tracing.ts';

export interface Hub {
  readonly config: Config;
  readonly kernel: Kernel;
  readonly log: EventLog;
  readonly executor: Executor;
  readonly views: Views;
  /** Small views that every replica keeps in memory, a moment behind the log. */
  readonly live: {
    readonly federation: LiveView<FederationRow>;
    readonly nodes: LiveView<NodeRow>;
    readonly keys: LiveView<KeyRow>;
    readonly sessions: LiveView<SessionRow>;
    readonly alerts: LiveView<AlertRow>;
    readonly access: LiveView<AccessRow>;
    readonly admins: LiveView<AdminRow>;
    readonly bans: LiveView<BanRow>;
    readonly entities: LiveView<EntityRow>;
    readonly invites: LiveView<InviteRow>;
    readonly joins: LiveView<JoinRow>;
    readonly limits: LiveView<LimitsRow>;
    readonly degradation: LiveView<DegradationRow>;
    readonly operatorTokens: LiveView<OperatorTokenRow>;
    readonly openTasks: LiveView<OpenTaskRow>;
    readonly models: LiveView<ModelsRow>;
    readonly subscriptions: LiveView<SubscriptionRow>;
    readonly channels: LiveView<ChannelMemberRow>;
    readonly mailboxes: LiveView<MailboxRow>;
    readonly sovereignty: LiveView<SovereigntyRow>;
    readonly peers: LiveView<PeerRow>;
    readonly secrets: LiveView<SecretRow>;
    readonly newestRoster: LiveView<NewestRosterRow>;
  };
  readonly keyring: Keyring;
  /** Of the federation's duties: they lie where its log lies, which all replicas share, whatever views they have. */
  readonly leases: Leases;
  /** Names of the duties that this replica asks for, and whether it holds them now. */
  readonly duties: Leases['duties'];
  /** Messages and memories by their words. */
  readonly search: SearchIndex;
  /** The way out to addresses that others name. */
  readonly egress: Egress;
  readonly metrics: Metrics;
  readonly tracing: Tracer;
  /** Opened at the first call. Rejects when they cannot be opened now. */
  readonly jobs: () => Promise<Jobs>;
  readonly doors: Doors;
  readonly readiness: Readiness;
  readonly federationId: string;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** State of each service of this replica, in the order of the manifest. */
  services(): readonly ServiceStatus[];
}
