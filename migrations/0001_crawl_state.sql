-- The crawl's own state: which repos there are, where each stands, and how far every source was read.
-- The collection tables are not here: schema.ts makes them from the config. Every object lives in one schema (search_path).

-- The states of a repo; apps/indexer/src/repo-states.ts says which event leads from which to which.
create type repo_state as enum ('waiting', 'working', 'retry', 'stale', 'done', 'failed', 'gone');

-- One row per server that was named by a DID document or a listing.
create table hosts (
  id int generated always as identity primary key,
  origin text collate "C" not null unique,         -- 'https://pds.example.com'
  process bigint,                                   -- processes.id of the one process that may ask this host
  accounts bigint,                                  -- as the relay's listHosts says
  failures int not null default 0,                  -- requests in a row that failed
  cool_until timestamptz,                           -- nothing is asked before
  limits jsonb,                                     -- the last rate-limit headers, by bucket
  error_code text,
  error_message text,
  seen_at timestamptz                               -- last answer
);

-- One row per DID that any source has listed. No foreign keys: a key share lock per row on a few hosts is what all writers would wait for.
create table repos (
  id bigint generated always as identity primary key,
  did text collate "C" not null unique,
  claim bigint,                                     -- token of the claim in force: process << 40 | n; null unless working
  retry_at timestamptz,                             -- when a retry, stale or failed repo is due; null: never by itself
  indexed_at timestamptz,                           -- when its rows were last made equal to its host's
  resolved_at timestamptz,                          -- when host, key and handle were last asked
  records bigint not null default 0,                -- rows that are stored now, all tables together
  rejected int not null default 0,                  -- rows in reject_rows
  host_id int,                                      -- null: not resolved yet
  projection_version int,                           -- the config's version that made the rows
  attempts int not null default 0,                  -- outcomes in a row that were not done
  state repo_state not null default 'waiting',
  rev text collate "C",                             -- rev of the stored rows; null: it has no rows
  head bytea,                                       -- CID of that commit, 36 bytes
  seen_rev text collate "C",                        -- newest rev of live events that were not applied for want of a snapshot
  status text,                                      -- why it is gone: deactivated, takendown, suspended, deleted...; null: active
  stale_reason text,                                -- newer-rev, desynchronised, missing-collection, missing-column, behind
  handle text collate "C",
  signing_key text collate "C",                     -- did:key or multibase
  error_code text,                                  -- of the last retry, failure or end
  error_message text,
  skipped jsonb                                     -- records per collection that the config leaves out: {"nsid": n}
) with (fillfactor = 80);

-- Claims: waiting repos of a host, by id from a remembered lower bound.
create index repos_waiting on repos (host_id, id) where state = 'waiting' and host_id is not null;
-- Repos that wait for resolution, by id. An expression, so that nothing else gives this order: a planner that thinks them many
-- would walk the primary key, past millions that are resolved.
create index repos_unresolved on repos ((id + 0)) where state = 'waiting' and host_id is null;
-- What is due again, by time.
create index repos_due on repos (host_id, retry_at) where state in ('retry', 'stale', 'failed');
-- Claims of one process, to release what a dead one held.
create index repos_working on repos (claim) where state = 'working';
-- What is gone and still has rows, to hide or remove them.
create index repos_gone on repos (id) where state = 'gone' and rev is not null;

-- Repos whose rows the views leave out: gone, but kept.
create table hidden_repos (
  repo bigint primary key
);

-- Records that could not be stored. The view `rejects` shows them with did and uri.
create table reject_rows (
  repo bigint not null,
  collection text collate "C" not null,
  rkey text collate "C" not null,
  cid bytea not null,                               -- 32 digest bytes, like every record's own cid
  code text not null,
  message text not null,
  bytes bytea not null,                             -- the block
  rejected_at timestamptz not null default now(),
  primary key (repo, collection, rkey)
);

-- Values that a column cannot hold exactly; the row has null (or U+FFFD) in its place. Bounded per repo.
create table oddity_rows (
  repo bigint not null,
  collection text collate "C" not null,
  rkey text collate "C" not null,
  field text not null,                              -- the column's name
  code text not null,
  original bytea not null,
  primary key (repo, collection, rkey, field)
);

-- How far each listing was read. Written in the transaction of its page.
create table sources (
  name text collate "C" primary key,                -- 'relay https://…', 'host https://…', 'file …'
  cursor text,
  pages bigint not null default 0,
  listed bigint not null default 0,                 -- entries, before deduplication
  passes int not null default 0,                    -- times that its end was reached
  started_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  finished_at timestamptz                           -- end of the last pass; null while one is under way
);

-- Sums by writer, so that no two writers wait for one row: readers add up. Names: discovered, repos/STATE, rows/TABLE,
-- rejected, oddities, bytes, skipped/NSID.
create table counters (
  name text collate "C" not null,
  writer int not null,
  value bigint not null,
  primary key (name, writer)
) with (fillfactor = 50);

-- Indexer processes that are alive: each beats; one whose beat is too old loses its leases and claims.
create table processes (
  id bigint generated always as identity primary key,
  egress text not null default '',                  -- processes behind one address share its limits
  place text not null,                              -- machine and pid, for people
  started_at timestamptz not null default now(),
  beat_at timestamptz not null default now()
);

-- Work that has one owner: the firehose, a source, index building, resolution.
create table leases (
  name text collate "C" primary key,
  process bigint not null,
  taken_at timestamptz not null default now()
);
