// What listings say: pages of repos in, rows of `repos` and the source's cursor out, both in one transaction (I2).
// Repos that are listed again change only if something moved; DIDs are sorted, so that two listings cannot deadlock.
import type { PoolClient } from 'pg'
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { type Existing, judge, type Listed, type Verdict } from './listing.ts'
import type { StateContext } from './state.ts'
import { noteHostClaims } from './state-host-claims.ts'
import { ensureHosts } from './state-hosts.ts'
import { noteSightings } from './state-sightings.ts'
import { applyVerdict, type Change } from './state-verdicts.ts'
import { step } from './steps.ts'

export interface SourcePosition {
  /** undefined: from the beginning. */
  cursor: string | undefined
  /** When its end was last reached; undefined: a pass is under way, or none was begun. */
  finishedAt: Date | undefined
  pages: number
}

export interface ListedPage {
  source: string
  /** Where the next page begins. */
  cursor: string | undefined
  repos: readonly Listed[]
  /** True on the last page of a pass. */
  finished: boolean
  /** What the page has is remembered, so that a later pass tells who is missing. */
  isSighting?: boolean | undefined
  /** Origin of the host whose own listing this is. */
  host?: string | undefined
  /** The host is believed about where its repos are, so that they need no resolution. Default true. */
  hostIsTrusted?: boolean
}

export interface PageOutcome {
  discovered: number
  outdated: number
  retired: number
  revived: number
  doubted: number
  claimed: number
}

export function createDiscovery({ database, process }: StateContext) {
  const positions = new Map<string, SourcePosition>()

  return {
    async readSource(source: string): Promise<SourcePosition> {
      type Row = { cursor: string | null; finished_at: Date | null; pages: number }
      const { rows } = await ask<Row>(database.pool, { text: selectSource, values: [source] })
      const [row] = rows
      const position = {
        cursor: row?.cursor ?? undefined,
        finishedAt: row?.finished_at ?? undefined,
        pages: row?.pages ?? 0,
      }
      positions.set(source, position)
      return position
    },

    /** Of `sources`, those whose end was reached since the present pass of `pass` began. */
    async finishedSources(sources: readonly string[], pass: string): Promise<Set<string>> {
      const { rows } = await ask<{ name: string }>(database.pool, { text: selectFinished, values: [sources, pass] })
      return new Set(rows.map(({ name }) => name))
    },

    /** Of `dids`, those that are done or gone, so that nothing would be asked about them by itself. */
    async settledRepos(dids: readonly string[]): Promise<Set<string>> {
      const { rows } = await ask<{ did: string }>(database.pool, { text: selectSettled, values: [dids] })
      return new Set(rows.map(({ did }) => did))
    },

    /** Throws `SourceTaken` when another process has moved the cursor since it was read here. */
    async commitPage(page: ListedPage): Promise<PageOutcome> {
      const before = positions.get(page.source)
      if (before === undefined) throw new Error('a source is read before its pages are committed')
      const repos = sortAndDedupe(page.repos)
      step('before-page')
      const outcome = await transact(database.pool, async (client) => {
        const [hostId] = page.host === undefined ? [] : await ensureHosts(client, [page.host])
        const changes = new CounterChanges()
        const { ids, ...outcome } = await writeRepos(client, {
          repos,
          hostId,
          homeId: page.hostIsTrusted === false ? undefined : hostId,
          changes,
        })
        const pass = await moveCursor(client, page, before.pages)
        if (page.isSighting && pass !== undefined)
          await noteSightings(client, { source: page.source, pass, page: before.pages, ids })
        await changes.write(client, counterWriter(process(), 0))
        step('before-page-commit')
        return outcome
      })
      positions.set(page.source, { cursor: page.cursor, finishedAt: undefined, pages: before.pages + 1 })
      step('after-page-commit')
      return outcome
    },
  }
}

const selectSource = `select cursor, finished_at, pages from sources where name = $1`
const selectFinished = `
  select s.name from sources s join sources pass on pass.name = $2
  where s.name = any($1) and s.finished_at >= pass.started_at`
const selectSettled = `select did from repos where did = any($1) and state in ('done', 'gone')`

function sortAndDedupe(repos: readonly Listed[]): Listed[] {
  const byDid = new Map(repos.map((repo) => [repo.did, repo]))
  return [...byDid.values()].sort((a, b) => (a.did < b.did ? -1 : 1))
}

/** Gives how many passes had ended before this page; undefined: the page was committed before. */
async function moveCursor(client: PoolClient, page: ListedPage, pages: number): Promise<number | undefined> {
  const values = [page.source, page.cursor ?? null, page.repos.length, page.finished, pages]
  const moved = await client.query<{ passes: number }>({ name: 'source-move', text: upsertSource, values })
  const [source] = moved.rows
  if (source !== undefined) return source.passes - Number(page.finished)
  // The commit of this very page may have been answered by a broken connection: then it stands there already.
  const { rows } = await client.query<{ cursor: string | null; pages: number }>(selectSource, [page.source])
  if (rows[0]?.pages === pages + 1 && rows[0].cursor === (page.cursor ?? null)) return undefined
  throw new IndexerError('SourceTaken', `another process lists ${page.source}`, {
    details: { source: page.source, pages },
  })
}

const upsertSource = `
  insert into sources as s (name, cursor, pages, listed, passes, finished_at)
  values ($1, $2, 1, $3, $4::boolean::int, case when $4 then now() end)
  on conflict (name) do update
  set cursor = excluded.cursor, pages = s.pages + 1, listed = s.listed + excluded.listed, passes = s.passes + excluded.passes,
      started_at = case when s.finished_at is null then s.started_at else now() end, finished_at = excluded.finished_at, updated_at = now()
  where s.pages = $5
  returning passes`

type Known = Existing & { id: number }

interface Page {
  repos: Listed[]
  /** Whose own listing it is. */
  hostId: number | undefined
  /** Where its new repos are; undefined: the DID document says. */
  homeId: number | undefined
  changes: CounterChanges
}

/** `ids`: of all its repos. Also for what hosts answer of repos that are known. */
export async function writeRepos(
  client: PoolClient,
  { repos, hostId, homeId, changes }: Page,
): Promise<PageOutcome & { ids: number[] }> {
  const known = new Map<string, Known>()
  const read = async (dids: string[]): Promise<void> => {
    if (dids.length === 0) return
    const { rows } = await client.query<Known>({ name: 'repos-by-did', text: selectRepos, values: [dids] })
    for (const row of rows) known.set(row.did, row)
  }
  await read(repos.map(({ did }) => did))
  const unknown = repos.filter(({ did }) => !known.has(did))
  const inserted = await insertRepos(client, { repos: unknown, hostId, homeId, changes })
  // Another listing may have inserted some at the same moment; what this one says of them counts no less.
  await read(unknown.flatMap(({ did }) => (inserted.has(did) ? [] : did)))

  const verdicts = Map.groupBy(repos, (repo): Verdict | undefined => {
    const existing = known.get(repo.did)
    return existing && judge(existing, repo, hostId)
  })
  const hostOf = (did: string) => known.get(did)?.hostId ?? null
  const apply = async (verdict: Change) =>
    await applyVerdict(client, { verdict, repos: verdicts.get(verdict) ?? [], hostOf, homeId, changes })
  await apply('wanted')
  const claimed = (verdicts.get('claimed') ?? []).map(({ did }) => did)
  return {
    ids: [...inserted.values(), ...[...known.values()].map(({ id }) => id)],
    discovered: inserted.size,
    outdated: await apply('outdated'),
    retired: await apply('retired'),
    revived: await apply('revived'),
    doubted: await apply('doubted'),
    claimed: hostId === undefined || claimed.length === 0 ? 0 : await noteHostClaims(client, { dids: claimed, hostId }),
  }
}

// Leans on repos_did_key: one probe per DID.
const selectRepos = `select id, did, state, rev, host_id as "hostId", status, resolved_at is not null as resolved from repos where did = any($1)`

/** A repo that its host calls inactive is gone there; should it live elsewhere, that host's listing or a relay's says so. */
async function insertRepos(client: PoolClient, { repos, hostId, homeId, changes }: Page): Promise<Map<string, number>> {
  if (repos.length === 0) return new Map()
  const states = repos.map((repo) => (repo.active === false ? 'gone' : 'waiting'))
  const hosts = states.map((state) => (state === 'gone' ? hostId : homeId) ?? null)
  const statuses = repos.map((repo, index) => (states[index] === 'gone' ? (repo.status ?? 'inactive') : null))
  const values = [repos.map((repo) => repo.did), hosts, states, statuses]
  const { rows } = await client.query<{ id: number; did: string; state: 'waiting' | 'gone' }>({
    name: 'repos-insert',
    text: insertNew,
    values,
  })
  for (const { state } of rows) changes.add(`repos/${state}`, 1)
  changes.add('discovered', rows.length)
  return new Map(rows.map(({ did, id }) => [did, id]))
}

const insertNew = `
  insert into repos (did, host_id, state, status)
  select * from unnest($1::text[], $2::int[], $3::repo_state[], $4::text[])
  on conflict (did) do nothing
  returning id, did, state`
