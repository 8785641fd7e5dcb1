// Who was in the last whole pass of a listing and is not in this one: pages' repos in, rows of `unlisted` out, once for each pass. A pass
// that a kill interrupted goes on with what its pages left. The surprise: it errs on one side only. Who counts as seen by mistake is
// found missing a pass later; who counts as missing by mistake costs a question.
import type { Pool, PoolClient } from 'pg'
import { ask, transact } from './database-transact.ts'
import { MissingIds, packIds, unpackIds } from './sightings.ts'
import type { StateContext } from './state.ts'
import { ensureHosts } from './state-hosts.ts'
import { step } from './steps.ts'
import { Slots } from './write-slots.ts'

/** Within the transaction of the page. */
export async function noteSightings(
  client: PoolClient,
  { source, pass, page, ids }: { source: string; pass: number; page: number; ids: readonly number[] },
): Promise<void> {
  if (ids.length === 0) return
  await client.query({ name: 'sightings', text: insertSighting, values: [source, pass, page, packIds(ids)] })
}

/**
 * More than these are a fault of the listing, not accounts that went: of each pass so many are asked for, the others a pass later. At 10
 * statuses a second from one host 20,000 take half an hour; of 43 million accounts that a relay lists, 430,000 on all hosts.
 */
const maxMissing = (known: number): number => Math.max(20_000, Math.floor(known / 100))
/** Pages of a thousand repos: ten milliseconds of this thread. */
const rowsPerRead = 100
const idsPerStatement = 1000

export function createSightings({ database: { pool } }: StateContext) {
  const comparing = new Slots(1) // a bit for each repo is taken once, however many hosts are listed at the same time

  return {
    /** For a pass that has just come to the end of its listing. `host`: whose own listing it is. Gives how many are to be asked for. */
    compareSightings: (source: string, host: string | undefined): Promise<number> =>
      comparing.run(async () => {
        const { rows } = await ask<{ passes: number }>(pool, { text: selectPasses, values: [source] })
        return await compare(pool, { source, host, pass: (rows[0]?.passes ?? 0) - 1 })
      }),

    /** For one that ended before its listing did: it says nothing of who is missing. */
    async forgetSightings(source: string): Promise<void> {
      await ask(pool, { text: deletePass, values: [source] })
    },
  }
}

interface Pass {
  source: string
  host: string | undefined
  /** The one that has just ended. */
  pass: number
}

async function compare(pool: Pool, { source, host, pass }: Pass): Promise<number> {
  const { missing, known } = await readMissing(pool, { source, pass })
  if (known === 0) return 0
  return await transact(pool, async (client) => {
    const [hostId] = host === undefined ? [] : await ensureHosts(client, [host])
    let left = maxMissing(known)
    let unlisted = 0
    let page = 0
    for (const ids of inParts(missing, idsPerStatement)) {
      if (left > 0) unlisted += (await client.query(insertUnlisted, [ids, hostId ?? null])).rowCount ?? 0
      else await noteSightings(client, { source, pass, page: --page, ids })
      left -= ids.length
    }
    await client.query(deleteOlder, [source, pass])
    step('before-unlisted-commit')
    return unlisted
  })
}

/** `known`: how many the passes before had, all together. */
async function readMissing(
  pool: Pool,
  { source, pass }: Omit<Pass, 'host'>,
): Promise<{ missing: MissingIds; known: number }> {
  const missing = new MissingIds()
  let known = 0
  let after: Pick<Sighting, 'pass' | 'page'> = { pass: -1, page: 0 }
  for (;;) {
    const values = [source, after.pass, after.page, rowsPerRead]
    const { rows } = await ask<Sighting>(pool, { name: 'sightings-read', text: selectSightings, values })
    for (const sighting of rows) {
      for (const id of unpackIds(sighting.repos)) {
        if (sighting.pass === pass) missing.delete(id)
        else missing.add(id)
        if (sighting.pass !== pass) known++
      }
    }
    const end = rows.at(-1)
    if (end === undefined || rows.length < rowsPerRead || known === 0) return { missing, known }
    after = end
  }
}

function* inParts(ids: Iterable<number>, size: number): Generator<number[]> {
  let part: number[] = []
  for (const id of ids) {
    part.push(id)
    if (part.length < size) continue
    yield part
    part = []
  }
  if (part.length > 0) yield part
}

interface Sighting {
  pass: number
  page: number
  repos: Buffer
}

const insertSighting = `insert into sightings (source, pass, page, repos) values ($1, $2, $3, $4) on conflict do nothing`

const selectPasses = `select passes from sources where name = $1`

// By the primary key: those of passes before come first.
const selectSightings = `
  select pass, page, repos from sightings where source = $1 and (pass, page) > ($2, $3) order by pass, page limit $4`

// Of others it is known already that they are gone, or they are asked for anyway. Who lives elsewhere by now is no concern of a host.
const insertUnlisted = `
  insert into unlisted (host_id, repo)
  select host_id, id from repos where id = any($1) and state = 'done' and host_id = coalesce($2, host_id)
  order by host_id, id on conflict do nothing`

const deleteOlder = `delete from sightings where source = $1 and pass < $2`

const deletePass = `
  delete from sightings using sources s where source = s.name and s.name = $1 and pass = s.passes - 1`
