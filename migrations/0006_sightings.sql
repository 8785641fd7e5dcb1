-- Accounts that merely vanish from the listing of their host or of a relay: who was there in the last whole pass and is not in this
-- one is asked for at their own host.

-- Which repos each page of a pass had: a row a page, not one a repo. Those of the last whole pass stay, for the next to be compared with.
create table sightings (
  source text collate "C" not null,                 -- sources.name
  pass int not null,                                -- sources.passes before it ended
  page bigint not null,                             -- sources.pages; below zero: not of a page, to be compared once more
  repos bytea not null,                             -- repos.id in ascending order, each less the one before it, as varints
  primary key (source, pass, page)
);
alter table sightings alter column repos set storage external; -- varints do not compress

-- Repos that a listing no longer has and whose host was not asked yet.
create table unlisted (
  host_id int not null,
  repo bigint not null,
  primary key (host_id, repo)
);
