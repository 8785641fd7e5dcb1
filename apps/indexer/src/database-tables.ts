// The tables of migrations/ as Kysely sees them. A column that Postgres fills by itself is `Generated`.
import type { ColumnType, Generated } from 'kysely'
import type { RepoState } from './repo-states.ts'

type Time = ColumnType<Date, Date | string, Date | string>

export interface Tables {
  hosts: {
    id: Generated<number>
    origin: string
    accounts: number | null
    failures: Generated<number>
    cool_until: Time | null
    limits: unknown
    error_code: string | null
    error_message: string | null
    seen_at: Time | null
  }
  repos: {
    id: Generated<number>
    did: string
    claim: string | null
    retry_at: Time | null
    indexed_at: Time | null
    resolved_at: Time | null
    records: Generated<number>
    rejected: Generated<number>
    host_id: number | null
    projection_version: number | null
    attempts: Generated<number>
    state: Generated<RepoState>
    rev: string | null
    head: Buffer | null
    seen_rev: string | null
    status: string | null
    stale_reason: string | null
    handle: string | null
    signing_key: string | null
    error_code: string | null
    error_message: string | null
    skipped: Record<string, number> | null
  }
  hidden_repos: { repo: number }
  reject_rows: {
    repo: number
    collection: string
    rkey: string
    cid: Buffer
    code: string
    message: string
    bytes: Buffer
    rejected_at: Generated<Date>
  }
  oddity_rows: { repo: number; collection: string; rkey: string; field: string; code: string; original: Buffer }
  sources: {
    name: string
    cursor: string | null
    pages: Generated<number>
    listed: Generated<number>
    passes: Generated<number>
    started_at: Generated<Date>
    updated_at: Generated<Date>
    finished_at: Time | null
  }
  host_claims: {
    id: Generated<number>
    host_id: number
    repo: number
    claimed_at: Generated<Date>
    refuted_at: Time | null
  }
  counters: { name: string; writer: number; value: number }
  processes: {
    id: Generated<number>
    egress: string
    place: string
    started_at: Generated<Date>
    beat_at: Generated<Date>
    session: string | null
    dead_after_ms: Generated<number>
    idle_since: Time | null
  }
  host_leases: { host_id: number; egress: string; process: number; taken_at: Generated<Date> }
  leases: { name: string; process: number; taken_at: Generated<Date> }
}
