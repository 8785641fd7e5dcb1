// A decoded record of the bench's four collections as a row's columns, by hand, as one would write it for kysely.
import { base32 } from 'multiformats/bases/base32'

export type Row = Record<string, unknown>

/** By collection: the table of the default config. */
export const tables: Readonly<Record<string, string>> = {
  'app.bsky.feed.like': 'like_rows',
  'app.bsky.feed.repost': 'repost_rows',
  'app.bsky.graph.follow': 'follow_rows',
  'app.bsky.feed.post': 'post_rows',
}

interface StrongRef {
  uri: string
  cid: string
}

interface Reaction {
  createdAt: string
  subject: StrongRef
  via?: StrongRef
}

interface Follow {
  createdAt: string
  subject: string
  via?: StrongRef
}

interface Post {
  createdAt: string
  text: string
  langs?: string[]
  tags?: string[]
  reply?: { root: StrongRef; parent: StrongRef }
  embed?: { record?: { uri?: string; record?: { uri?: string } } }
  facets?: unknown
  labels?: unknown
}

type Stringify = (value: unknown) => string

/** Throws on what the bench's repos do not have. */
export function rowOf(collection: string, record: unknown, stringify: Stringify): Row {
  if (collection === 'app.bsky.feed.post') return postRow(record as Post, stringify)
  if (collection === 'app.bsky.graph.follow') return followRow(record as Follow)
  return reactionRow(record as Reaction)
}

function reactionRow({ createdAt, subject, via }: Reaction): Row {
  return {
    created_at: createdAt,
    subject_uri: subject.uri,
    subject_cid: cidBytes(subject.cid),
    via_uri: via?.uri ?? null,
    via_cid: cidBytes(via?.cid),
  }
}

function followRow({ createdAt, subject, via }: Follow): Row {
  return { created_at: createdAt, subject, via_uri: via?.uri ?? null, via_cid: cidBytes(via?.cid) }
}

function postRow({ createdAt, text, langs, tags, reply, embed, facets, labels }: Post, stringify: Stringify): Row {
  return {
    created_at: createdAt,
    text,
    langs: langs ?? null,
    tags: tags ?? null,
    reply_root_uri: reply?.root.uri ?? null,
    reply_root_cid: cidBytes(reply?.root.cid),
    reply_parent_uri: reply?.parent.uri ?? null,
    reply_parent_cid: cidBytes(reply?.parent.cid),
    quote_uri: embed?.record?.uri ?? embed?.record?.record?.uri ?? null,
    embed: embed === undefined ? null : stringify(embed),
    facets: facets === undefined ? null : stringify(facets),
    labels: labels === undefined ? null : stringify(labels),
  }
}

function cidBytes(text: string | undefined): Uint8Array | null {
  return text === undefined ? null : base32.decode(text)
}
