// A crawl of a fake network into a test's own database, in this process: short waits, small limits, every record compared
// with what the repos really hold. Output: what the run said, and what became of each account.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DemoNetwork } from 'indexer/demo/network.ts'
import type { DemoAccount } from 'indexer/demo/population.ts'
import { loadConfig } from 'indexer/src/config.ts'
import type { HttpLimits } from 'indexer/src/http-limits.ts'
import { openLog } from 'indexer/src/log.ts'
import { optionTable } from 'indexer/src/options.ts'
import type { HandleOptions } from 'indexer/src/resolve-handle.ts'
import { type RunOptions, type RunOutcome, run } from 'indexer/src/run.ts'
import type { TestDatabase } from 'indexer/src/testing-database.ts'
import { CID } from 'multiformats/cid'
import { cidOf, cidText, encodeRecord } from 'repo-stream/fixtures'
import { compareRows, type TrueRecord } from './compare-rows.ts'

export interface CrawlFakeOptions {
  readonly options?: Partial<RunOptions>
  readonly httpLimits?: Partial<HttpLimits>
  readonly handles?: HandleOptions
  readonly signal?: AbortSignal
}

export async function crawlFake(
  network: DemoNetwork,
  database: TestDatabase,
  { options, httpLimits = {}, handles = {}, signal = new AbortController().signal }: CrawlFakeOptions = {},
): Promise<RunOutcome> {
  const dataDir = await mkdtemp(join(tmpdir(), 'crawl-fake-'))
  try {
    const all = optionsOf({
      relay: network.relayUrl,
      plc: [network.plcUrl],
      database: database.url,
      dataDir,
      ...options,
    })
    const log = openLog({ json: true, level: all.logLevel })
    return await run(all, { log, line: undefined, signal, httpLimits, handles })
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}

/** Every option, as tests want them. */
export function optionsOf(given: Partial<RunOptions>): RunOptions {
  const defaults = Object.entries(optionTable).map(([name, option]) => [name, option.default])
  return {
    ...(Object.fromEntries(defaults) as RunOptions),
    live: false,
    collections: ['*'],
    allowPrivateHosts: true,
    maxAttempts: 3,
    retryDelay: 0.05,
    logJson: true,
    logLevel: process.env.LOG_LEVEL ?? 'fatal',
    ...given,
  }
}

export interface Outcome {
  readonly state: string
  readonly status: string
  readonly code: string | null
  readonly records: number
}

export async function readOutcomes({ pool }: Pick<TestDatabase, 'pool'>): Promise<Map<string, Outcome>> {
  const { rows } = await pool.query<Outcome & { did: string }>(
    'select did, state, status, error_code as code, records::int as records from accounts',
  )
  return new Map(rows.map(({ did, ...outcome }) => [did, outcome]))
}

/** Differences between all rows and the records of `accounts`, as lines. */
export async function compareWithTruth(
  database: Pick<TestDatabase, 'pool'>,
  network: DemoNetwork,
  accounts: Iterable<DemoAccount>,
): Promise<string[]> {
  const config = await loadConfig({ collections: ['*'] })
  return await compareRows(database, config, truth(network, accounts))
}

function* truth(network: DemoNetwork, accounts: Iterable<DemoAccount>): Generator<TrueRecord> {
  for (const account of accounts) {
    for (const { key, value } of network.recordsOf(account)) {
      yield { uri: `at://${account.did}/${key}`, cid: cidText(cidOf(encodeRecord(value))), value: toJson(value) }
    }
  }
}

/** Links in the JSON form of the data model; the demo's records hold no bytes. */
function toJson(value: unknown): unknown {
  const link = CID.asCID(value)
  if (link) return { $link: link.toString() }
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]))
}
