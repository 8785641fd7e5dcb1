// Every error that the indexer names: one table gives each code its class and says what to do about it.
// A class is acted on in one place (crawl.ts); nobody matches on message text.
import { RepoStreamError, type RepoStreamErrorCode } from 'repo-stream'

/**
 * What an error means for the crawl.
 * - `retry`: nothing is known about the repo; ask again later.
 * - `gone`: the account is inactive or deleted; a state, not a failure.
 * - `reject-record`: one record cannot be stored; it becomes a row in `rejects`, its repo goes on.
 * - `fail-repo`: what the host sent is wrong; retried slowly.
 * - `stop-run`: going on makes no sense; exit.
 */
export type ErrorClass = 'retry' | 'gone' | 'reject-record' | 'fail-repo' | 'stop-run'

export const errorCodes = {
  /** An argument, flag or environment variable is wrong. The message names it and the nearest valid one. */
  BadUsage: 'stop-run',
  /** The config file is wrong. The message says where in it, what, and the nearest valid name. */
  BadConfig: 'stop-run',
  /** A view must change for the new config, but a view or function of yours depends on it. Drop yours, start again, make it anew. */
  SchemaInUse: 'stop-run',
  /** `--citus`, but the database has no such extension. Make it on the coordinator: `create extension citus`; or leave the option out. */
  CitusMissing: 'stop-run',
  /** The database cannot be reached, or was lost and did not come back. Start again: nothing that was done is lost. */
  DatabaseUnavailable: 'stop-run',
  /** Postgres does not permit it: no such database or user, a wrong password, a right that the role lacks (it must be able to create a schema), or a read-only standby. The message has Postgres' words. */
  DatabaseRefused: 'stop-run',
  /** There is no database of the indexer: a wrong `--data-dir`, `--database` or `--schema`, or `run` was never started. Nothing was made. */
  NoDatabase: 'stop-run',
  /** Postgres refused the statement of `sql`; the message has its words. */
  QueryRefused: 'stop-run',
  /** A file or folder cannot be used; the message names it and says why. Mind its owner, its rights, and the disk. */
  FileUnusable: 'stop-run',
  /** The database's disk is full, or it has no memory left. Free some and start again: what was committed stays. */
  DatabaseFull: 'stop-run',
  /** A key was there already, which the fence excludes: a bug. Report it with the message. */
  DuplicateKey: 'stop-run',
  /** Another process lists this source, since this one was taken for dead. Never seen outside: the listing waits until that process is done or dead. */
  SourceTaken: 'stop-run',
  /** The database went away, or had a deadlock, while a large repo was written; nothing of it was. The repo is tried again. */
  WriteInterrupted: 'retry',
  /** Postgres refused a row that the projection had let through. Its record is kept in `rejects` with the row's bytes. */
  RowRefused: 'reject-record',
  /** Postgres refused something of a repo that is no row of a record; the rest of its batch is written. A bug: report it. */
  RepoRefused: 'fail-repo',
  /** Postgres refused to build an index of the config; the message has its words. Everything else is done. Change the `indexes` of the config. */
  IndexRefused: 'stop-run',
  /** A migration failed and was rolled back, or the database was migrated by a newer version. The message has Postgres' reason. */
  MigrationFailed: 'stop-run',
  /** No embedded PostgreSQL is installed for this machine. Give `--database` or DATABASE_URL. */
  EmbeddedDatabaseMissing: 'stop-run',
  /** The embedded PostgreSQL could not be made or started; the message quotes its log, `postgres/server.log` in the data directory. */
  EmbeddedDatabaseFailed: 'stop-run',
  /** The servers of `demo` did not start; the message says why. */
  DemoFailed: 'stop-run',
  /** The listing has given more entries than it can have, so it repeats itself or invents accounts; the next run goes on behind them. Or a relay names the same hosts again and again. */
  ListingEndless: 'fail-repo',

  // What a repo turned out to be: index-repo.ts.
  /** The host answered with another account's repo. */
  WrongRepo: 'fail-repo',
  /** The rev, which is a time, lies more than ten minutes ahead; stored, it would win against every later one. */
  RevInFuture: 'fail-repo',
  /** The commit is signed with none of the keys that the DID document had or has. */
  BadSignature: 'fail-repo',
  /** Two fetches gave different blocks for the same records. The repo is changing or its host lies; tried again. */
  RepoUnstable: 'retry',

  // The archive: archive.ts, reproject.ts.
  /** The disk of the archive is full, or failed. Make room and start again, or go on without `--archive`: nothing is lost. */
  ArchiveUnwritable: 'stop-run',
  /** The archive has no CAR of a repo. `reproject` leaves its rows as they are; `run` fetches it if the config wants more. Where it has none of any, nothing is changed. */
  ArchiveMissing: 'fail-repo',
  /** The archived CAR is of another commit than the stored rows. As with `ArchiveMissing`. */
  ArchiveOutdated: 'fail-repo',
  /** An archived CAR is cut short or cannot be read. As with `ArchiveMissing`; the next fetch of the repo replaces it. */
  ArchiveDamaged: 'fail-repo',
  /** `reproject`, or a changed config, wants the database for itself, and another indexer process works on it; or the other way round. Wait, or stop that. */
  DatabaseBusy: 'stop-run',

  // One record: project/. It is a row in `rejects` with its bytes; `rejects replay` tries it again.
  /** The block is not strict DAG-CBOR, or not a map. The message says what and at which byte. */
  RecordMalformed: 'reject-record',
  /** Lists and maps nest deeper than 256. */
  RecordTooDeep: 'reject-record',
  /** Collection and rkey are too long together, or have characters that no record key may have. */
  RecordKeyUnusable: 'reject-record',

  // Talking to hosts: http.ts, fetch.ts. `details` has the url; `details.retryAtMs` when the host said when.
  /** The host's name does not resolve. Transient, or the host is gone: it cools down and is asked more and more rarely. */
  DnsFailed: 'retry',
  /** No connection: refused, unreachable or timed out. The host cools down. */
  ConnectFailed: 'retry',
  /** The TLS handshake or certificate is bad. The host cools down; its operator must mend it. */
  TlsFailed: 'retry',
  /** The connection broke, or the body ended before its end. Asked again. */
  ConnectionLost: 'retry',
  /** The host took the request and answered nothing in `headersTimeoutMs`, or nothing but informational answers (1xx). */
  HeadersTimeout: 'retry',
  /** The body stood still for `bodyIdleTimeoutMs`. */
  BodyStalled: 'retry',
  /** The body trickles below `minimumBytesPerSecond`, or took longer than `bodyTimeoutMs` in all; or a did:web document was not whole after 15 s. */
  BodyTooSlow: 'retry',
  /** The host has not answered for as long as all retries of a repo take; its other repos fail with it. Looked at again hours later. */
  HostDead: 'fail-repo',
  /** 429. The host says when to come back; the scheduler obeys. */
  RateLimited: 'retry',
  /** 5xx. The host cools down. */
  HostError: 'retry',
  /** 401 or 403: the host does not serve us. Asked again rarely; `--contact` tells its operator whom to write to. */
  HostRefused: 'retry',
  /** Not what was asked for: HTML, another content type, JSON of another shape or with more in it than was asked for. Often a parked domain or a proxy's page. */
  BadResponse: 'retry',
  /** The encoding of the body is unknown, it does not decode, a MiB of it decodes to nothing, or in zstd it looks back more than 8 MiB. */
  BadEncoding: 'retry',
  /** The host answered 400 or another 4xx to a correct request. `details.error` is its XRPC error. */
  XrpcRefused: 'fail-repo',
  /** Decoded, the body has more than `maxBodyBytes`, 8 GiB (the largest known repos: 1 GiB), or a listing's page more than its rows need. */
  BodyTooBig: 'fail-repo',
  /** A few bytes expanded into very many: a decompression bomb. */
  CompressionBomb: 'fail-repo',
  /** More than `maxRedirects` hops. */
  TooManyRedirects: 'fail-repo',
  /** A redirect to something other than https. `--allow-private-hosts` permits http. */
  RedirectRefused: 'fail-repo',
  /** The host redirects to another one for a repo, and the DID document, asked anew, still names the first. Not followed, for no turn was taken there. */
  RedirectElsewhere: 'retry',
  /** A host, or where it redirects to, has a private, loopback or reserved address. `--allow-private-hosts` permits it. */
  AddressRefused: 'fail-repo',
  /** A host that is no usable https origin. `--allow-private-hosts` permits http. */
  HostInvalid: 'fail-repo',
  /** The host does not have the repo (any more). */
  RepoNotFound: 'gone',
  /** The account is deactivated by its owner. */
  RepoDeactivated: 'gone',
  /** The account is taken down by its host. */
  RepoTakendown: 'gone',
  /** The account is suspended by its host. */
  RepoSuspended: 'gone',

  // From DID to host and key: resolve.ts.
  /** Every PLC directory failed to answer, or wants to be left alone for now. The DID is asked for again later. */
  PlcUnavailable: 'retry',
  /** The text is no DID of a method that atproto uses (plc, web). */
  DidInvalid: 'fail-repo',
  /** The directory, or the domain of a did:web, does not know the DID. */
  DidNotFound: 'fail-repo',
  /** Neither a DID nor a handle, or a handle whose domain names no DID, by DNS or by /.well-known/atproto-did. */
  HandleNotFound: 'fail-repo',
  /** Domains of handles in a file or among the arguments could not be asked, in three tries. The others are listed; the next run reads all names again. */
  HandleUnasked: 'retry',
  /** The identity was deleted at the directory. */
  DidTombstoned: 'gone',
  /** The DID document is of another DID, or lacks a PDS or a usable signing key; `details.missing` says which. */
  DidDocumentInvalid: 'fail-repo',
} as const satisfies Record<string, ErrorClass>

export type ErrorCode = keyof typeof errorCodes

/** An error with a stable `code` (a key of `errorCodes`), the values involved and its cause. */
export class IndexerError extends Error {
  override readonly name = 'IndexerError'
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }
}

/** What repo-stream finds wrong with a download: cut short (asked again), too much for us, or invalid. */
const walkErrorClasses: Partial<Record<RepoStreamErrorCode, ErrorClass>> = {
  CarTruncated: 'retry',
  MissingCommit: 'retry',
  MissingBlock: 'retry',
  DiskFull: 'retry',
  DiskFailed: 'retry',
  StoreBudgetSpent: 'retry',
}

/** Codes of repo-stream that only a bug of ours can cause. */
const walkBugs: readonly RepoStreamErrorCode[] = ['Closed']

/** The class of any thrown value; `undefined` for one that nobody declared, which is a bug. */
export function errorClass(error: unknown): ErrorClass | undefined {
  if (error instanceof IndexerError) return errorCodes[error.code]
  if (!(error instanceof RepoStreamError) || walkBugs.includes(error.code)) return undefined
  return walkErrorClasses[error.code] ?? 'fail-repo'
}

const mistakes: readonly ErrorCode[] = [
  'BadUsage',
  'BadConfig',
  'CitusMissing',
  'DatabaseRefused',
  'NoDatabase',
  'QueryRefused',
  'FileUnusable',
  'ArchiveMissing',
  'SchemaInUse',
  'IndexRefused',
  'MigrationFailed',
  'EmbeddedDatabaseMissing',
  'DemoFailed',
]

/** 2 for a mistake of the caller, 75 for what may go away by itself, 1 for a bug. */
export function exitCodeOf(error: unknown): 1 | 2 | 75 {
  if (!(error instanceof IndexerError)) return 1
  if (mistakes.includes(error.code)) return 2
  return error.code === 'DuplicateKey' ? 1 : 75
}

/** What began it: the last in the chain of causes. */
export function innermost(error: unknown): { message: string; code?: unknown } {
  let first = error
  while (first instanceof Error && first.cause instanceof Error) first = first.cause
  return first instanceof Error ? first : { message: String(first) }
}

export function reasonOf(error: unknown): string {
  return innermost(error).message
}

/** Waits end with an AbortError, loops with the signal's own reason; what then fails while things are closed changes nothing. */
export function isInterruption(error: unknown, signal: AbortSignal): boolean {
  if (error instanceof SuppressedError) return isInterruption(error.suppressed, signal)
  return signal.aborted && (error === signal.reason || (error instanceof Error && error.name === 'AbortError'))
}

/**
 * An error of the file system is no bug: it gets its code here, at the edge. What ended a verb stands before what then failed while it was
 * closed. Anything else stays what it is.
 */
export function coded(error: unknown): unknown {
  if (error instanceof SuppressedError) return coded(error.suppressed)
  if (error instanceof RepoStreamError && error.code === 'DiskFailed' && isFileError(error.cause)) {
    return new IndexerError('FileUnusable', `${error.message}: ${error.cause.message}`, { cause: error })
  }
  if (!isFileError(error)) return error
  return new IndexerError('FileUnusable', error.message, { cause: error, details: { path: error.path } })
}

/** Node's message has the error's name, the call and the path. */
function isFileError(error: unknown): error is NodeJS.ErrnoException & { path: string } {
  return error instanceof Error && 'syscall' in error && 'path' in error && typeof error.path === 'string'
}
