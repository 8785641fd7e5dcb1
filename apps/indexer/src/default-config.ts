// The collections that make up nearly all of the Bluesky network, with the columns that people ask for.
// Written out instead of derived from lexicons: @atproto/api takes 0.4 s to import, and a start should not.
import type { CollectionsInput } from './config.ts'

const strongRef = (name: string, path: string) =>
  ({
    [`${name}_uri`]: { type: 'at-uri', path: `${path}.uri` },
    [`${name}_cid`]: { type: 'cid', path: `${path}.cid` },
  }) as const

export const defaultCollections: CollectionsInput = {
  'app.bsky.feed.post': {
    columns: {
      created_at: 'timestamptz',
      text: 'text',
      langs: 'text[]',
      tags: 'text[]',
      ...strongRef('reply_root', 'reply.root'),
      ...strongRef('reply_parent', 'reply.parent'),
      // The quoted record: of app.bsky.embed.record, or of recordWithMedia, which holds one.
      quote_uri: { type: 'at-uri', paths: ['embed.record.uri', 'embed.record.record.uri'] },
      embed: 'jsonb',
      facets: 'jsonb',
      labels: 'jsonb',
    },
    indexes: ['created_at', 'reply_root_uri', 'reply_parent_uri', 'quote_uri'],
  },
  'app.bsky.feed.like': {
    columns: { created_at: 'timestamptz', ...strongRef('subject', 'subject'), ...strongRef('via', 'via') },
    indexes: ['subject_uri'],
  },
  'app.bsky.feed.repost': {
    columns: { created_at: 'timestamptz', ...strongRef('subject', 'subject'), ...strongRef('via', 'via') },
    indexes: ['subject_uri'],
  },
  'app.bsky.graph.follow': {
    columns: { created_at: 'timestamptz', subject: 'did', ...strongRef('via', 'via') },
    indexes: ['subject'],
  },
  'app.bsky.graph.block': {
    columns: { created_at: 'timestamptz', subject: 'did' },
    indexes: ['subject'],
  },
  'app.bsky.actor.profile': {
    columns: {
      created_at: 'timestamptz',
      display_name: 'text',
      description: 'text',
      pronouns: 'text',
      website: 'text',
      avatar: 'blob',
      banner: 'blob',
      ...strongRef('pinned_post', 'pinnedPost'),
      ...strongRef('joined_via_starter_pack', 'joinedViaStarterPack'),
      labels: 'jsonb',
    },
  },
  'app.bsky.graph.list': {
    columns: {
      created_at: 'timestamptz',
      purpose: 'text',
      name: 'text',
      description: 'text',
      description_facets: 'jsonb',
      avatar: 'blob',
      labels: 'jsonb',
    },
  },
  'app.bsky.graph.listitem': {
    columns: { created_at: 'timestamptz', subject: 'did', list: 'at-uri' },
    indexes: ['subject', 'list'],
  },
  'app.bsky.graph.listblock': {
    columns: { created_at: 'timestamptz', subject: 'at-uri' },
    indexes: ['subject'],
  },
  'app.bsky.feed.generator': {
    columns: {
      created_at: 'timestamptz',
      service: { type: 'did', path: 'did' },
      display_name: 'text',
      description: 'text',
      description_facets: 'jsonb',
      avatar: 'blob',
      accepts_interactions: 'bool',
      content_mode: 'text',
      labels: 'jsonb',
    },
  },
  'app.bsky.feed.threadgate': {
    columns: { created_at: 'timestamptz', post: 'at-uri', allow: 'jsonb', hidden_replies: 'text[]' },
  },
  'app.bsky.feed.postgate': {
    columns: {
      created_at: 'timestamptz',
      post: 'at-uri',
      embedding_rules: 'jsonb',
      detached_embedding_uris: 'text[]',
    },
  },
  'app.bsky.graph.starterpack': {
    columns: {
      created_at: 'timestamptz',
      name: 'text',
      description: 'text',
      description_facets: 'jsonb',
      list: 'at-uri',
      feeds: 'jsonb',
    },
  },
}
