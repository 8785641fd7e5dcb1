-- Several processes on one database: who may ask which host, who has nothing to do, and whose connections are to be ended.

-- The one process of each egress that may ask a host. Kept until it is given away, or its process is dead.
create table host_leases (
  host_id int not null,
  egress text collate "C" not null,                 -- processes.egress
  process bigint not null,                          -- processes.id
  taken_at timestamptz not null default now(),
  primary key (host_id, egress)
);
insert into host_leases (host_id, egress, process)
  select h.id, p.egress, p.id from hosts h join processes p on p.id = h.process;
alter table hosts drop column process;

alter table processes
  add column session text,                          -- application_name of its connections: ended with it
  add column dead_after_ms int not null default 30000,  -- it has lost everything when it has not beaten for so long
  add column idle_since timestamptz;                -- it finds no host to ask: others give it some of theirs
