/** Every setting of the hub, read from the environment in this one place and checked at start. */
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import type { GovernanceMode } from './events/federation.ts';
import type { Limits } from './events/limits.ts';
import { readTracing, type TracingSettings } from './tracing/settings.ts';

export interface Config {
  readonly port: number;
  readonly host: string;
  readonly dataDir: string;
  /** `sqlite:<folder>` or `postgres://…` */
  readonly logUrl: string;
  readonly viewsUrl: string;
  /** Undefined: made at first start. */
  readonly federationId: string | undefined;
  /** Counts at first start only. */
  readonly mode: GovernanceMode;
  readonly publicUrl: string | undefined;
  /** Addresses and networks whose `X-Forwarded-*` is believed. */
  readonly trustedProxies: readonly string[];
  /** Addresses and networks besides the public ones that calls to nodes and webhooks may reach. */
  readonly egressAllow: readonly string[];
  /** Addresses and networks that may read /metrics without a token. */
  readonly metricsAllow: readonly string[];
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly logLevel: string;
  /** How often a node is asked to send a heartbeat. */
  readonly heartbeatMs: number;
  /** A node silent for this long is lost, whatever its rhythm was. */
  readonly silenceMs: number;
  /** A request to join lapses after this. */
  readonly joinMs: number;
  /** Undefined: limits and jobs are counted in this process alone. */
  readonly redisUrl: string | undefined;
  /** A minute's worth for an identity that has no limits of its own. */
  readonly limits: Limits;
  /** HTTP requests and packets a minute from one address, before anyone proved anything. */
  readonly strangerLimit: number;
  /** `orders`: work is put aside by order of an administrator alone, whatever is measured. */
  readonly degradation: 'auto' | 'orders';
  /** How long a message is kept that says nothing else. */
  readonly messageDays: number;
  /** How long a roster counts, by which nodes go on when the hub is silent. */
  readonly rosterMs: number;
  /** The audit log holds this many days; undefined: all. */
  readonly auditDays: number | undefined;
  /** `file:<folder>` or `s3://<bucket>/<prefix>?endpoint=…&region=…` */
  readonly filesUrl: string;
  /** For `s3:`; undefined: as the AWS SDK finds them. */
  readonly s3Credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  /** Of one file, in bytes. */
  readonly fileBytes: number;
  /** Of all files of one owner, in bytes. */
  readonly fileQuotaBytes: number;
  /** How long a file is kept at most; those that say nothing else are kept so long. */
  readonly fileDays: number;
  /** How long the bytes of a file may take to come. */
  readonly uploadHours: number;
  /** Readings older than this may be rolled up and dropped. */
  readonly heartbeatDays: number;
  /** The master key of the secrets vault: 32 bytes of the environment, else in the file. `previous`: another that counts too. */
  readonly vault: {
    readonly key: Uint8Array | undefined;
    readonly previous: Uint8Array | undefined;
    readonly file: string;
  };
  /** Undefined: nothing is traced. */
  readonly tracing: TracingSettings | undefined;
}

/** The environment does not make a configuration; the message names each variable at fault. */
export class ConfigError extends Error {}

const mostLimit = 10_000_000;
const mebibyte = 1_048_576;

type Read = (name: string) => string | undefined;

interface Setting {
  readonly name: string;
  readonly meaning: string;
  /** Shown as its origin only; `whole`: only whether it is set. */
  readonly secret?: true | 'whole';
}

/** All settings, in the order of the documentation. */
export const settings: readonly Setting[] = [
  { name: 'PORT', meaning: 'port to listen on (3002; 0 for any free one)' },
  { name: 'HOST', meaning: 'address to listen on (127.0.0.1)' },
  { name: 'DATABASE_URL', meaning: 'sqlite:<folder> or postgres://…, for log and views alike', secret: true },
  { name: 'FEDERATION_DATA_DIR', meaning: 'folder of SQLite files and of the keyring (./data)' },
  { name: 'FEDERATION_LOG_URL', meaning: 'where the event log is (DATABASE_URL)', secret: true },
  { name: 'FEDERATION_VIEWS_URL', meaning: 'where the views are (DATABASE_URL)', secret: true },
  { name: 'FEDERATION_ID', meaning: 'name of the federation (made at first start)' },
  { name: 'FEDERATION_MODE', meaning: 'open, approval or invite, at first start (open)' },
  { name: 'FEDERATION_PUBLIC_URL', meaning: 'how the outside reaches this hub' },
  { name: 'FEDERATION_TRUSTED_PROXIES', meaning: 'addresses or networks, by commas, whose X-Forwarded-* is believed' },
  {
    name: 'FEDERATION_EGRESS_ALLOW',
    meaning: 'addresses or networks, by commas, that routed calls and webhooks may reach besides public ones',
  },
  {
    name: 'FEDERATION_METRICS_ALLOW',
    meaning: 'addresses or networks, by commas, that may read /metrics without a token (127.0.0.0/8, ::1)',
  },
  { name: 'FEDERATION_TLS_CERT', meaning: 'certificate file (PEM); with FEDERATION_TLS_KEY' },
  { name: 'FEDERATION_TLS_KEY', meaning: 'private key file (PEM); with FEDERATION_TLS_CERT' },
  { name: 'FEDERATION_HEARTBEAT_SECONDS', meaning: 'how often nodes are asked for a heartbeat (15)' },
  { name: 'FEDERATION_SILENCE_SECONDS', meaning: 'a node silent for this long is lost (90)' },
  { name: 'FEDERATION_HEARTBEAT_DAYS', meaning: 'days that single heartbeats are kept before they are rolled up (7)' },
  { name: 'FEDERATION_JOIN_HOURS', meaning: 'hours after which a request to join lapses (72)' },
  { name: 'FEDERATION_MESSAGE_DAYS', meaning: 'days that messages are kept that say nothing else, at most 30 (7)' },
  {
    name: 'FEDERATION_ROSTER_HOURS',
    meaning: 'hours that nodes may go on without the hub: the life of the roster of members (24)',
  },
  {
    name: 'FEDERATION_FILES_URL',
    meaning:
      'where files lie: file:<folder>, or s3://<bucket>/<prefix>?endpoint=…&region=… (files in FEDERATION_DATA_DIR)',
  },
  { name: 'FEDERATION_FILE_MEGABYTES', meaning: 'mebibytes that one file may have (1024)' },
  { name: 'FEDERATION_FILE_QUOTA_MEGABYTES', meaning: 'mebibytes that all files of one owner may have (10240)' },
  { name: 'FEDERATION_FILE_DAYS', meaning: 'days that files are kept at most (30)' },
  { name: 'FEDERATION_FILE_UPLOAD_HOURS', meaning: 'hours in which all bytes of a file must have come (24)' },
  { name: 'AWS_ACCESS_KEY_ID', meaning: 'for files in S3; with AWS_SECRET_ACCESS_KEY', secret: 'whole' },
  { name: 'AWS_SECRET_ACCESS_KEY', meaning: 'for files in S3; with AWS_ACCESS_KEY_ID', secret: 'whole' },
  { name: 'FEDERATION_AUDIT_DAYS', meaning: 'days that the audit log holds (all)' },
  { name: 'FEDERATION_LIMIT_REQUESTS', meaning: 'HTTP requests a minute for each identity (6000)' },
  { name: 'FEDERATION_LIMIT_MEGABYTES', meaning: 'megabytes a minute for each identity, both ways (600)' },
  { name: 'FEDERATION_LIMIT_MESSAGES', meaning: 'socket packets a minute for each identity (6000)' },
  {
    name: 'FEDERATION_LIMIT_STRANGERS',
    meaning: 'requests and packets a minute from one address before a login (3000)',
  },
  {
    name: 'FEDERATION_VAULT_KEY',
    meaning: 'master key of the secrets vault: 32 bytes in hex or base64, the same for all replicas (the key file)',
    secret: 'whole',
  },
  {
    name: 'FEDERATION_VAULT_KEY_PREVIOUS',
    meaning: 'another master key that counts too, while keys are wrapped anew (none)',
    secret: 'whole',
  },
  {
    name: 'FEDERATION_VAULT_KEY_FILE',
    meaning: 'file of the master key, made at the first start (vault.key in FEDERATION_DATA_DIR)',
  },
  {
    name: 'FEDERATION_DEGRADATION',
    meaning: 'auto: work is put aside by what is measured, and by order; orders: by order alone (auto)',
  },
  {
    name: 'REDIS_URL',
    meaning: 'redis://…, for jobs, sockets and limits of all replicas (PostgreSQL or this process carries them)',
    secret: true,
  },
  {
    name: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    meaning: 'collector of traces, http://…:4318 (nothing is traced)',
    secret: true,
  },
  {
    name: 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    meaning: 'the same, with the whole path of traces (…/v1/traces)',
    secret: true,
  },
  { name: 'OTEL_EXPORTER_OTLP_HEADERS', meaning: 'headers for the collector, name=value by commas', secret: 'whole' },
  { name: 'OTEL_EXPORTER_OTLP_TRACES_HEADERS', meaning: 'the same, for traces alone', secret: 'whole' },
  { name: 'OTEL_EXPORTER_OTLP_TIMEOUT', meaning: 'milliseconds that the collector has for a batch (10000)' },
  { name: 'OTEL_TRACES_EXPORTER', meaning: 'otlp, or none for no traces (otlp)' },
  { name: 'OTEL_SDK_DISABLED', meaning: 'true for no traces (false)' },
  { name: 'OTEL_SERVICE_NAME', meaning: 'how traces name the hub (federation-hub)' },
  { name: 'OTEL_RESOURCE_ATTRIBUTES', meaning: 'what traces say of the hub besides, name=value by commas' },
  {
    name: 'OTEL_TRACES_SAMPLER',
    meaning: 'always_on, always_off, traceidratio, or one of them after parentbased_ (parentbased_always_on)',
  },
  { name: 'OTEL_TRACES_SAMPLER_ARG', meaning: 'share of the traces that a traceidratio records, 0 to 1 (1)' },
  { name: 'OTEL_BSP_SCHEDULE_DELAY', meaning: 'milliseconds that spans wait to be sent together (5000)' },
  { name: 'OTEL_BSP_EXPORT_TIMEOUT', meaning: 'milliseconds after which a batch is given up (30000)' },
  { name: 'OTEL_BSP_MAX_QUEUE_SIZE', meaning: 'spans that wait at most (2048)' },
  { name: 'OTEL_BSP_MAX_EXPORT_BATCH_SIZE', meaning: 'spans that are sent together at most (512)' },
  { name: 'LOG_LEVEL', meaning: 'trace, debug, info, warn, error, fatal or silent (info)' },
];

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];
const modes: readonly GovernanceMode[] = ['open', 'approval', 'invite'];

/** Reads the settings. Throws `ConfigError` naming everything that is wrong at once. An empty value counts as unset. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const wrong: string[] = [];
  const known = new Set(settings.map((setting) => setting.name));
  for (const name of Object.keys(env)) {
    if (name.startsWith('FEDERATION_') && !known.has(name) && env[name])
      wrong.push(`${name} is not a setting of this hub`);
  }
  const read: Read = (name) => env[name]?.trim() || undefined;
  const number = (name: string, fallback: number, min: number, max: number) => {
    const text = read(name);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (!Number.isFinite(value) || value < min || value > max)
      wrong.push(`${name} must be a number from ${min} to ${max}`);
    return value;
  };
  const whole = (name: string, fallback: number, max: number) => {
    const value = number(name, fallback, 1, max);
    if (!Number.isInteger(value)) wrong.push(`${name} must be a whole number`);
    return value;
  };
  const oneOf = <T extends string>(name: string, values: readonly T[], fallback: T): T => {
    const text = read(name) ?? fallback;
    const value = values.find((candidate) => candidate === text);
    if (!value) wrong.push(`${name} must be one of ${values.join(', ')}`);
    return value ?? fallback;
  };
  const dataDir = resolve(read('FEDERATION_DATA_DIR') ?? './data');
  const database = read('DATABASE_URL') ?? `sqlite:${dataDir}`;
  const config: Config = {
    port: number('PORT', 3002, 0, 65535),
    host: read('HOST') ?? '127.0.0.1',
    dataDir,
    logUrl: storeUrl('FEDERATION_LOG_URL', read('FEDERATION_LOG_URL') ?? database, wrong),
    viewsUrl: storeUrl('FEDERATION_VIEWS_URL', read('FEDERATION_VIEWS_URL') ?? database, wrong),
    federationId: checked('FEDERATION_ID', read('FEDERATION_ID'), /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, wrong),
    mode: oneOf('FEDERATION_MODE', modes, 'open'),
    publicUrl: checked('FEDERATION_PUBLIC_URL', read('FEDERATION_PUBLIC_URL'), /^https?:\/\/[^\s]+$/, wrong),
    trustedProxies: networks('FEDERATION_TRUSTED_PROXIES', read, wrong),
    egressAllow: networks('FEDERATION_EGRESS_ALLOW', read, wrong),
    metricsAllow: networks('FEDERATION_METRICS_ALLOW', read, wrong, '127.0.0.0/8,::1'),
    tls: tls(read, wrong),
    logLevel: oneOf('LOG_LEVEL', logLevels, 'info'),
    heartbeatMs: number('FEDERATION_HEARTBEAT_SECONDS', 15, 0.1, 3600) * 1000,
    silenceMs: number('FEDERATION_SILENCE_SECONDS', 90, 0.3, 86_400) * 1000,
    joinMs: number('FEDERATION_JOIN_HOURS', 72, 0.001, 8_760) * 3_600_000,
    redisUrl: checked('REDIS_URL', read('REDIS_URL'), /^rediss?:\/\/[^\s]+$/, wrong),
    limits: {
      requests: whole('FEDERATION_LIMIT_REQUESTS', 6_000, mostLimit),
      megabytes: whole('FEDERATION_LIMIT_MEGABYTES', 600, mostLimit),
      messages: whole('FEDERATION_LIMIT_MESSAGES', 6_000, mostLimit),
    },
    strangerLimit: whole('FEDERATION_LIMIT_STRANGERS', 3_000, mostLimit),
    auditDays: read('FEDERATION_AUDIT_DAYS') === undefined ? undefined : number('FEDERATION_AUDIT_DAYS', 0, 1, 36_500),
    filesUrl: filesUrl(read('FEDERATION_FILES_URL') ?? `file:${join(dataDir, 'files')}`, wrong),
    s3Credentials: s3Credentials(read, wrong),
    fileBytes: whole('FEDERATION_FILE_MEGABYTES', 1_024, 1_048_576) * mebibyte,
    fileQuotaBytes: whole('FEDERATION_FILE_QUOTA_MEGABYTES', 10_240, 1_073_741_824) * mebibyte,
    fileDays: number('FEDERATION_FILE_DAYS', 30, 0.0001, 3_650),
    uploadHours: number('FEDERATION_FILE_UPLOAD_HOURS', 24, 0.0001, 720),
    degradation: oneOf('FEDERATION_DEGRADATION', ['auto', 'orders'], 'auto'),
    messageDays: number('FEDERATION_MESSAGE_DAYS', 7, 0.0001, 30),
    rosterMs: number('FEDERATION_ROSTER_HOURS', 24, 0.001, 8_760) * 3_600_000,
    heartbeatDays: number('FEDERATION_HEARTBEAT_DAYS', 7, 0.01, 3650),
    vault: vault(read, dataDir, wrong),
    tracing: readTracing({ read, number, oneOf, wrong }),
  };
  if (config.silenceMs < 3 * config.heartbeatMs) {
    wrong.push('FEDERATION_SILENCE_SECONDS must be at least three times FEDERATION_HEARTBEAT_SECONDS');
  }
  if (wrong.length > 0) throw new ConfigError(wrong.join('\n'));
  return config;
}

/** What `fedhub config` shows: each setting, its value with secrets left out, and whether the environment set it. */
export function describeConfig(
  env: Readonly<Record<string, string | undefined>>,
): { name: string; value: string; meaning: string }[] {
  return settings.map(({ name, meaning, secret }) => {
    const value = env[name]?.trim() || '(unset)';
    return { name, value: secret ? hidden(value, secret) : value, meaning };
  });
}

function hidden(value: string, secret: true | 'whole'): string {
  return secret === 'whole' && value !== '(unset)' ? '(set)' : redacted(value);
}

/** A URL without its user, password and query. */
export function redacted(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//***@').replace(/\?.*$/, '');
}

function storeUrl(name: string, url: string, wrong: string[]): string {
  if (/^postgres(ql)?:\/\//.test(url)) return url;
  if (url.startsWith('sqlite:')) return `sqlite:${resolve(join(url.slice('sqlite:'.length).replace(/^\/\//, '')))}`;
  wrong.push(`${name} (or DATABASE_URL) must start with sqlite:, postgres:// or postgresql://`);
  return url;
}

function filesUrl(url: string, wrong: string[]): string {
  if (url.startsWith('file:')) return `file:${resolve(url.slice('file:'.length).replace(/^\/\//, ''))}`;
  if (!/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[\w!.*'()/-]*)?(\?[^#\s]*)?$/.test(url))
    wrong.push('FEDERATION_FILES_URL must be file:<folder> or s3://<bucket>/<prefix>?endpoint=…&region=…');
  return url;
}

function s3Credentials(read: Read, wrong: string[]): Config['s3Credentials'] {
  const [accessKeyId, secretAccessKey] = [read('AWS_ACCESS_KEY_ID'), read('AWS_SECRET_ACCESS_KEY')];
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey };
  if (accessKeyId || secretAccessKey) wrong.push('AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together');
  return undefined;
}

function checked(name: string, value: string | undefined, shape: RegExp, wrong: string[]): string | undefined {
  if (value !== undefined && !shape.test(value)) wrong.push(`${name} must look like ${shape.source}`);
  return value;
}

function vault(read: Read, dataDir: string, wrong: string[]): Config['vault'] {
  const [key, previous] = ['FEDERATION_VAULT_KEY', 'FEDERATION_VAULT_KEY_PREVIOUS'].map((name) => {
    const text = read(name);
    if (text === undefined) return undefined;
    const hex = /^[0-9a-fA-F]{64}$/.test(text);
    if (!hex && !/^[A-Za-z0-9_+/-]{43}=?$/.test(text)) wrong.push(`${name} must be 32 bytes, in hex or base64`);
    return Buffer.from(text, hex ? 'hex' : 'base64url');
  });
  if (previous && !key) wrong.push('FEDERATION_VAULT_KEY_PREVIOUS goes with FEDERATION_VAULT_KEY');
  return { key, previous, file: resolve(read('FEDERATION_VAULT_KEY_FILE') ?? join(dataDir, 'vault.key')) };
}

function networks(name: string, read: Read, wrong: string[], fallback = ''): string[] {
  const entries = (read(name) ?? fallback)
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean);
  for (const entry of entries) {
    const [address = '', bits, more] = entry.split('/');
    const family = isIP(address);
    const fits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 6 ? 128 : 32));
    if (family === 0 || !fits || more !== undefined) {
      wrong.push(`${name} holds ${entry}, which is no address or network`);
    }
  }
  return entries;
}

function tls(read: Read, wrong: string[]): Config['tls'] {
  const certFile = read('FEDERATION_TLS_CERT');
  const keyFile = read('FEDERATION_TLS_KEY');
  if (certFile && keyFile) return { certFile, keyFile };
  if (certFile || keyFile) wrong.push('FEDERATION_TLS_CERT and FEDERATION_TLS_KEY go together');
  return undefined;
}
