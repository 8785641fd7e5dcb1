// The fence: locks the rows of `repos` that a transaction is about to write for, and tells which are still ours.
// Input: claims; output: the locked rows. A repo whose token or rev is no longer the one its work started from is left alone, so a
// process that was stopped and went on past its lease writes nothing.
import type { ClientBase } from 'pg'
import type { RepoState } from './repo-states.ts'
import type { ClaimedRepo } from './state.ts'

export interface LockedRepo {
  id: number
  claim: string | null
  state: RepoState
  rev: string | null
  head: Buffer | null
  records: number
  rejected: number
  seenRev: string | null
  attempts: number
  projectionVersion: number | null
  skipped: Record<string, number> | null
}

/** In the order of ids, so that two writers cannot deadlock. Leans on repos_pkey. */
const lockRepos = `
  select id, claim::text, state, rev, head, records, rejected, seen_rev as "seenRev", attempts,
         projection_version as "projectionVersion", skipped
  from repos where id = any($1) order by id for update`

export async function lock(client: ClientBase, ids: readonly number[]): Promise<Map<number, LockedRepo>> {
  const { rows } = await client.query<LockedRepo>({ name: 'fence', text: lockRepos, values: [ids] })
  return new Map(rows.map((row) => [row.id, row]))
}

export function isOurs(locked: LockedRepo, claim: ClaimedRepo): boolean {
  return locked.state === 'working' && locked.claim === claim.claim && locked.rev === claim.rev
}

/** A commit may be answered by a broken connection: run again, the transaction finds its own work. */
export function isWritten(locked: LockedRepo, { rev, head }: { rev: string; head: Uint8Array }): boolean {
  return locked.state !== 'working' && locked.rev === rev && locked.head?.equals(head) === true
}
