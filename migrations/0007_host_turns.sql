-- Requests other than getRepo (listings, statuses) come from any process: when the next one to a host is due, for all processes behind one
-- address together, and what the host has said of its limits for them. Relays and directories stand here too, which are no hosts of repos.

create table host_turns (
  origin text collate "C" not null,
  egress text collate "C" not null,                 -- processes.egress
  due_at timestamptz not null,                      -- of the next request at an even pace
  limits jsonb,                                     -- as in hosts
  primary key (origin, egress)
) with (fillfactor = 50);
