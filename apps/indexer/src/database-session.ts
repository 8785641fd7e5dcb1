// What each connection of ours works with, whatever the role, the database or the server has for a default: a client and a schema in.
// The surprise: what this server does not know is left out, so that one that is too old gets as far as being told so.
import type { ClientBase } from 'pg'

export async function setSession(client: Pick<ClientBase, 'query'>, schema: string): Promise<void> {
  await setSettings(client, { ...ours, ...noTimeouts, search_path: schema })
}

/** By the names that pg_settings has. One round trip. */
export async function setSettings(
  client: Pick<ClientBase, 'query'>,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  await client.query(setConfig, [Object.keys(settings), Object.values(settings)])
}

/** Those of the defaults are for people. An index takes as long as it takes, and a large repo's transaction idles while its host is slow. */
export const noTimeouts = {
  statement_timeout: '0',
  lock_timeout: '0',
  transaction_timeout: '0', // since 17
  idle_session_timeout: '0',
  idle_in_transaction_session_timeout: '0',
}

const ours = {
  TimeZone: 'UTC',
  DateStyle: 'ISO', // pg reads a time in any other as null
  jit: 'off',
  // Every statement leans on an index; a planner without statistics, as in a young database, must not prefer to read it all.
  enable_seqscan: 'off',
  // The fence and the locks on the schema must see what others committed while they waited.
  default_transaction_isolation: 'read committed',
  standard_conforming_strings: 'on',
  array_nulls: 'on', // else a null among the values of a parameter is the text NULL
}

const setConfig = `
  select set_config(s.name, wanted.value, false)
  from unnest($1::text[], $2::text[]) as wanted (name, value) join pg_settings s on s.name = wanted.name`
