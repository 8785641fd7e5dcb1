-- What the PLC directory says of each DID, filled and followed from its /export (plc-export.ts), so that a crawl of millions
-- need not ask for one DID at a time.

create table identities (
  did text collate "C" primary key,
  operated_at timestamptz not null,                 -- of the newest operation that was seen; older ones change nothing
  host_id int,                                      -- null: tombstoned, or no usable PDS
  handle text collate "C",
  signing_key text collate "C"                      -- did:key; null: none that is usable
) with (fillfactor = 90);
