-- Which version of the projection filled each table. A database of today gets the column with the table (schema.ts).
alter table if exists collections add column if not exists projector int not null default 0;
