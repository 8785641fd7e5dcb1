import { expect, test } from 'vitest'
import { resolveConfig } from './config-resolve.ts'
import { describeTables, schemaSql } from './describe-tables.ts'

const config = await resolveConfig({
  collections: {
    'app.bsky.actor.profile': {
      columns: { created_at: 'timestamptz', avatar: 'blob', pinned: { type: 'at-uri', path: 'pinnedPost.uri' } },
      indexes: ['pinned'],
      json: true,
    },
    'com.example.*': 'json',
  },
})

test('tables are described with types, paths and indexes', () => {
  expect(describeTables(config)).toBe(`profile  (app.bsky.actor.profile)
  did, rkey, uri, cid, sort_at
  created_at   timestamptz    createdAt
  avatar_cid   text (cid)     avatar.ref
  avatar_mime  text           avatar.mimeType
  avatar_size  int8           avatar.size
  pinned       text (at-uri)  pinnedPost.uri, at most 2600 bytes
  record       jsonb          the whole record
  index btree (pinned)

records  (com.example.*)
  did, collection, rkey, uri, cid, sort_at
  record  jsonb  the whole record
`)
})

test('the SQL of a config has its tables, views, functions and indexes', () => {
  const sql = schemaSql(config, 'atproto')
  for (const part of [
    'create table atproto."profile_rows" (\n  repo int8 not null,\n  "created_at" timestamptz,\n  "avatar_size" int8,\n  rkey text',
    'create or replace view atproto."records" as',
    'create or replace function atproto."profile_by_uri"(uri text)',
    'create index concurrently "profile_rows_pinned_idx" on atproto."profile_rows" using btree ((case when starts_with("pinned", ',
  ]) {
    expect(sql).toContain(part)
  }
})
