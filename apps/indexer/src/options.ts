// Every setting of the indexer, once: flag, environment variable, default, unit and help come from this table, and so
// do `--help` and the options page of OPERATIONS.md. A flag wins over its variable, the variable over the default.
import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  MiB,
  parseContact,
  parseCount,
  parseCountOrZero,
  parseDeadAfter,
  parseEgress,
  parseInactive,
  parseList,
  parseLogLevel,
  parsePath,
  parseSchema,
  parseSeconds,
  parseSize,
  parseSome,
  parseThreads,
  parseUrl,
  parseVerify,
} from './option-values.ts'
import { parseSource } from './source-spec.ts'

export interface OptionSpec<T> {
  flags: string
  env?: string
  default: T
  help: string
  /** `previous`: of a flag that is repeated, what it gave before; the default at first. */
  parse?: (text: string, previous: T) => T
}

const spec = <T>(option: OptionSpec<T>): OptionSpec<T> => option

export const optionTable = {
  relay: spec<string>({
    flags: '--relay <url>',
    env: 'INDEXER_RELAY',
    default: 'https://relay1.us-east.bsky.network',
    help: 'relay that the sources relay, hosts and collection ask',
    parse: parseUrl,
  }),
  source: spec<string[]>({
    flags: '--source <sources>',
    env: 'INDEXER_SOURCE',
    default: ['relay'],
    help: 'where repos are listed: relay, hosts, host=URL, collection=NSID, file=PATH; several, comma-separated or repeated',
    parse: parseSources,
  }),
  collectionDirectory: spec<string | undefined>({
    flags: '--collection-directory <url>',
    env: 'INDEXER_COLLECTION_DIRECTORY',
    default: undefined,
    help: 'server whose listReposByCollection the source collection asks (default: the relay)',
    parse: parseUrl,
  }),
  plc: spec<string[]>({
    flags: '--plc <urls>',
    env: 'INDEXER_PLC',
    default: ['https://plc.directory'],
    help: 'PLC directories, comma-separated, asked in turn',
    parse: (text) => parseSome(text).map(parseUrl),
  }),
  plcExport: spec<boolean>({
    flags: '--plc-export',
    env: 'INDEXER_PLC_EXPORT',
    default: false,
    help: "keep a copy of the first PLC directory's /export and ask that first; for more than 100,000 repos",
  }),
  database: spec<string | undefined>({
    flags: '--database <url>',
    env: 'DATABASE_URL',
    default: undefined,
    help: 'Postgres to fill; without it the indexer runs its own under --data-dir',
  }),
  dataDir: spec<string>({
    flags: '--data-dir <dir>',
    env: 'INDEXER_DATA_DIR',
    default: 'data',
    help: 'folder of the embedded database and of temporary files',
    parse: parsePath,
  }),
  schema: spec<string>({
    flags: '--schema <name>',
    env: 'INDEXER_SCHEMA',
    default: 'atproto',
    help: 'Postgres schema that holds every table and view',
    parse: parseSchema,
  }),
  citus: spec<boolean>({
    flags: '--citus',
    env: 'INDEXER_CITUS',
    default: false,
    help: 'spread the collection tables over the nodes of a Citus cluster, whose coordinator is --database: experimental',
  }),
  config: spec<string | undefined>({
    flags: '--config <file>',
    env: 'INDEXER_CONFIG',
    default: undefined,
    help: 'which collections and columns; without it ./indexer.config.ts, else the Bluesky collections',
    parse: parsePath,
  }),
  collections: spec<string[]>({
    flags: '--collections <nsids>',
    env: 'INDEXER_COLLECTIONS',
    default: [],
    help: "more collections, comma-separated, into the table records as jsonb; wildcards work, '*' is all",
    parse: parseList,
  }),
  live: spec<boolean>({
    flags: '--no-live',
    default: true,
    help: 'end when the crawl is complete; so far every run does, for following the firehose is not built yet',
  }),
  memory: spec<number>({
    flags: '--memory <size>',
    env: 'INDEXER_MEMORY',
    default: 256 * MiB,
    help: 'bytes that all repos in flight may hold together; a walk that gets no more uses the disk',
    parse: parseSize,
  }),
  repoMemory: spec<number>({
    flags: '--repo-memory <size>',
    env: 'INDEXER_REPO_MEMORY',
    default: 16 * MiB,
    help: 'bytes that one repo may hold before it uses the disk',
    parse: parseSize,
  }),
  spillDir: spec<string | undefined>({
    flags: '--spill-dir <dir>',
    env: 'INDEXER_SPILL_DIR',
    default: undefined,
    help: 'folder for the temporary files of big repos (default: spill under --data-dir)',
    parse: parsePath,
  }),
  spillLimit: spec<number>({
    flags: '--spill-limit <size>',
    env: 'INDEXER_SPILL_LIMIT',
    default: 16384 * MiB,
    help: 'bytes that all repos in flight may put on the disk together, and one of them half of that',
    parse: parseSize,
  }),
  archive: spec<string | undefined>({
    flags: '--archive <dir>',
    env: 'INDEXER_ARCHIVE',
    default: undefined,
    help: 'folder that keeps the CAR of every repo, compressed, for `reproject`; give it with every run',
    parse: parsePath,
  }),
  concurrency: spec<number>({
    flags: '--concurrency <n>',
    env: 'INDEXER_CONCURRENCY',
    default: 256,
    help: 'repos fetched at the same time',
    parse: parseCount,
  }),
  hostConcurrency: spec<number>({
    flags: '--host-concurrency <n>',
    env: 'INDEXER_HOST_CONCURRENCY',
    default: 256,
    help: 'repos fetched at the same time from one host; its pace is what limits it, so this is for slow ones',
    parse: parseCount,
  }),
  resolveConcurrency: spec<number>({
    flags: '--resolve-concurrency <n>',
    env: 'INDEXER_RESOLVE_CONCURRENCY',
    default: 32,
    help: 'DIDs resolved at the same time',
    parse: parseCount,
  }),
  threads: spec<number | undefined>({
    flags: '--threads <n>',
    env: 'INDEXER_THREADS',
    default: undefined,
    help: 'most threads that fetch, walk and encode repos, beside the one that feeds Postgres; one at first, more when they are busy (default: the cores, up to 8)',
    parse: parseThreads,
  }),
  egress: spec<string>({
    flags: '--egress <name>',
    env: 'INDEXER_EGRESS',
    default: '',
    help: 'of several processes on one database, those behind another address: hosts limit each address by itself',
    parse: parseEgress,
  }),
  deadAfter: spec<number>({
    flags: '--dead-after <seconds>',
    env: 'INDEXER_DEAD_AFTER',
    default: 30,
    help: 'what this process holds goes to others when it has shown no sign of life for so long',
    parse: parseDeadAfter,
  }),
  maxAttempts: spec<number>({
    flags: '--max-attempts <n>',
    env: 'INDEXER_MAX_ATTEMPTS',
    default: 6,
    help: 'tries before a repo counts as failed',
    parse: parseCount,
  }),
  retryDelay: spec<number>({
    flags: '--retry-delay <seconds>',
    env: 'INDEXER_RETRY_DELAY',
    default: 5,
    help: 'wait before the first retry; it doubles with each, up to an hour',
    parse: parseSeconds,
  }),
  maxFailed: spec<number | undefined>({
    flags: '--max-failed <n>',
    env: 'INDEXER_MAX_FAILED',
    default: undefined,
    help: 'exit with code 3 when more repos than this have failed (default: no limit)',
    parse: parseCountOrZero,
  }),
  verify: spec<'full' | 'structure'>({
    flags: '--verify <level>',
    env: 'INDEXER_VERIFY',
    default: 'full',
    help: 'full checks signatures too; structure checks hashes, tree and DID only',
    parse: parseVerify,
  }),
  inactive: spec<'hide' | 'keep' | 'delete'>({
    flags: '--inactive <what>',
    env: 'INDEXER_INACTIVE',
    default: 'hide',
    help: 'rows of deactivated, suspended and taken-down accounts: hide them from the views, keep or delete them',
    parse: parseInactive,
  }),
  allowPrivateHosts: spec<boolean>({
    flags: '--allow-private-hosts',
    env: 'INDEXER_ALLOW_PRIVATE_HOSTS',
    default: false,
    help: 'permit http and loopback or private addresses: for tests and networks of your own',
  }),
  contact: spec<string | undefined>({
    flags: '--contact <address>',
    env: 'INDEXER_CONTACT',
    default: undefined,
    help: 'mail or web address that hosts see in the User-Agent',
    parse: parseContact,
  }),
  logJson: spec<boolean>({
    flags: '--log-json',
    env: 'INDEXER_LOG_JSON',
    default: false,
    help: 'JSON logs on stderr in place of the progress line',
  }),
  logLevel: spec<string>({
    flags: '--log-level <level>',
    env: 'INDEXER_LOG_LEVEL',
    default: 'info',
    help: 'trace, debug, info, warn or error',
    parse: parseLogLevel,
  }),
} as const

type OptionTable = typeof optionTable
export type OptionName = keyof OptionTable
export type Options = { [K in OptionName]: OptionTable[K] extends OptionSpec<infer T> ? T : never }

/** The options that `names` gives, added to a verb; their values come typed from `command.opts()`. */
export function addOptions(command: Command, names: readonly OptionName[]): Command {
  for (const name of names) {
    const { flags, env, default: value, help, parse } = optionTable[name] as OptionSpec<unknown>
    const option = new Option(flags, help)
    if (env) option.env(env)
    if (name !== 'live' && value !== undefined) option.default(value, describeDefault(name, value))
    if (parse) option.argParser(parse)
    command.addOption(option)
  }
  return command
}

export function describeDefault(name: OptionName, value: unknown): string {
  if (value === undefined || value === false) return ''
  if (name === 'egress') return 'all behind one'
  if (name === 'memory' || name === 'repoMemory' || name === 'spillLimit') return `${Number(value) / MiB}MiB`
  return Array.isArray(value) ? value.join(',') || 'none' : String(value)
}

function parseSources(text: string, previous: string[]): string[] {
  const sources = parseSome(text)
  for (const source of sources) {
    try {
      parseSource(source)
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error))
    }
  }
  return previous === optionTable.source.default ? sources : [...previous, ...sources]
}
