-- Accounts that a host's own listing calls active though they are known to live elsewhere, or to be gone. A stranger says so: the DID
-- document decides (decide-hosts.ts). What it refuted stays for a day, so that a host that lists the accounts of others is not believed
-- again and again; one that it confirmed goes.

create table host_claims (
  id bigint generated always as identity,
  host_id int not null,                             -- who claims it
  repo bigint not null,
  claimed_at timestamptz not null default now(),
  refuted_at timestamptz,                           -- null: the document was not asked yet
  primary key (host_id, repo)
);

-- Claims that wait for the document.
create index host_claims_open on host_claims (id) where refuted_at is null;
-- Claims on one repo, which go when it has moved.
create index host_claims_repo on host_claims (repo);
