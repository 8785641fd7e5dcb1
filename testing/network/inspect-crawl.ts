// What is wrong with a crawled database, as lines: rows, states and counters against what the network holds.
import { loadConfig } from 'indexer/src/config.ts'
import type { Database } from 'indexer/src/database.ts'
import { repoStates } from 'indexer/src/repo-states.ts'
import { compareWithTruth, readOutcomes } from './crawl-fake.ts'
import type { FakeNetwork } from './fakes.ts'

/** Hosts list their inactive accounts too; a relay lists only those that it takes for active. */
export type CrawledSource = 'relay' | 'relay,hosts'

export async function inspectCrawl(
  database: Pick<Database, 'pool'>,
  network: FakeNetwork,
  source: CrawledSource = 'relay',
): Promise<string[]> {
  const differences: string[] = []
  const outcomes = await readOutcomes(database)
  for (const account of network.accounts) {
    const { did, status, relayKnows } = account
    const isListed = !relayKnows || (source === 'relay,hosts' && status !== 'deleted')
    const wanted = status === 'active' ? 'done' : isListed ? 'gone' : undefined
    const { state, code } = outcomes.get(did) ?? {}
    if (network.isRemoved(account)) {
      // Nobody has listed it, or it was listed and is no more.
      if (state !== undefined && state !== 'gone') differences.push(`${did} is ${state} (${code}), but was deleted`)
    } else if (state !== wanted) differences.push(`${did} is ${state} (${code}), not ${wanted}`)
  }
  const active = network.accounts.filter((account) => account.status === 'active' && !network.isRemoved(account))
  const unfinished = await database.pool.query(
    `select did, state, host_id, claim, retry_at, attempts, error_code from repos where state not in ('done', 'gone')`,
  )
  for (const row of unfinished.rows) differences.push(JSON.stringify(row))
  differences.push(...(await compareWithTruth(database, network, active)))
  differences.push(...(await compareCounters(database)))
  return differences
}

/** Sums of all writers' counters against count(*). */
async function compareCounters({ pool }: Pick<Database, 'pool'>): Promise<string[]> {
  const { rows } = await pool.query<{ name: string; value: string }>(
    'select name, sum(value) as value from counters group by name',
  )
  const counters = new Map(rows.map(({ name, value }) => [name, Number(value)]))
  const differences: string[] = []
  const expectCount = async (name: string, query: string) => {
    const counted = Number((await pool.query<{ count: string }>(query)).rows[0]?.count)
    if ((counters.get(name) ?? 0) !== counted)
      differences.push(`counter ${name} is ${counters.get(name)}, not ${counted}`)
  }
  await expectCount('discovered', 'select count(*) from repos')
  for (const state of repoStates) {
    await expectCount(`repos/${state}`, `select count(*) from repos where state = '${state}'`)
  }
  for (const { name, rowsName } of (await loadConfig({ collections: ['*'] })).tables) {
    await expectCount(`rows/${name}`, `select count(*) from "${rowsName}"`)
  }
  await expectCount('rejected', 'select count(*) from reject_rows')
  await expectCount('oddities', 'select count(*) from oddity_rows')
  return differences
}
