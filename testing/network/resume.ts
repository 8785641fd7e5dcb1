// Crawls that are killed: a network and a list of blows in, what is wrong as lines out (I6, and that nothing done is fetched again).
// Each blow hits the indexer, its Postgres, both, or is a Ctrl-C to the whole process group, at a named step or after a time; then the
// indexer starts again. At the end views and rejects must equal those of a run that nothing disturbed.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openEmbeddedDatabase } from 'indexer/src/embedded-database.ts'
import { urlOf } from 'indexer/src/embedded-database-server.ts'
import { type StepName, stepNames } from 'indexer/src/steps.ts'
import { Client } from 'pg'
import type { Random } from 'repo-stream/fixtures'
import { compareLines, readViews } from './read-views.ts'
import { startResumeNetwork } from './resume-network.ts'
import { type RunResult, startIndexer } from './run-indexer.ts'

export type Victim = 'indexer' | 'postgres' | 'both'
export type Blow = { step: StepName; times: number; victim: Victim } | { afterMs: number; victim: Victim | 'interrupt' }

export interface ResumeReport {
  /** Blows that hit; one whose step does not come again before the crawl is complete hits nothing. */
  hits: number
  /** Crawls from the beginning to the end: the blows left over when one completes go on in another. */
  crawls: number
  rows: number
  differences: string[]
}

const runTimeoutMs = 120_000
const maxQuietRuns = 5

/** Every step once, from a random one on, with a random victim, and as many blows at random times. */
export function randomBlows(random: Random, timed: number): Blow[] {
  const victims: Victim[] = ['indexer', 'indexer', 'postgres', 'both']
  // A host is only dropped for another process.
  const reached = stepNames.filter((step) => step !== 'before-host-drop')
  const steps = reached.map((step): Blow => ({ step, times: 1 + random.below(2), victim: random.pick(victims) }))
  const times = Array.from({ length: timed }, (): Blow => {
    return { afterMs: 500 + random.below(2_500), victim: random.pick([...victims, 'interrupt']) }
  })
  return shuffle([...steps, ...times], random)
}

export function shuffle<T>(items: T[], random: Random): T[] {
  const keyed = items.map((item) => ({ item, key: random.fraction() }))
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item)
}

export async function crawlUnderBlows(seed: number, blows: readonly Blow[], accounts = 100): Promise<ResumeReport> {
  const dataDir = await mkdtemp(join(tmpdir(), 'resume-'))
  const network = await startResumeNetwork(seed, accounts)
  const crawls = new KilledCrawls(dataDir, network, seed % 2 === 0 ? 'relay' : 'hosts')
  try {
    return await crawls.run(blows)
  } finally {
    await network.close()
    await stopServer(dataDir)
    await rm(dataDir, { recursive: true, force: true })
  }
}

type Network = Awaited<ReturnType<typeof startResumeNetwork>>

class KilledCrawls {
  readonly #dataDir: string
  readonly #network: Network
  readonly #source: 'relay' | 'hosts'
  readonly #differences: string[] = []
  #hits = 0

  constructor(dataDir: string, network: Network, source: 'relay' | 'hosts') {
    this.#dataDir = dataDir
    this.#network = network
    this.#source = source
  }

  async run(blows: readonly Blow[]): Promise<ResumeReport> {
    await this.#finish('quiet')
    const expected = await this.#dump('quiet')
    const left = [...blows]
    let crawls = 0
    while (left.length > 0) {
      const schema = `crawl_${crawls++}`
      const done = new DoneRepos(this.#network)
      while (left.length > 0) {
        const blow = left.shift()
        if (blow === undefined || (await this.#strike(schema, blow)) === 'complete') break
        await done.look(this.#dataDir, schema)
      }
      await this.#finish(schema)
      const found = [...done.fetchedAgain(), ...compareLines(expected, await this.#dump(schema)), ...this.#leftovers()]
      this.#differences.push(...found.map((line) => `${schema}: ${line}`))
    }
    return { hits: this.#hits, crawls, rows: expected.size, differences: this.#differences }
  }

  /** One run that a blow ends, or that completes in spite of it. */
  async #strike(schema: string, blow: Blow): Promise<'complete' | 'again'> {
    const indexer = startIndexer(this.#args(schema), 'step' in blow ? { env: killAt(blow, this.#dataDir) } : {})
    if ('afterMs' in blow) {
      await Promise.race([indexer.ended, sleep(blow.afterMs)])
      this.#hit(indexer.pid, blow.victim)
    }
    const result = await this.#wait(indexer)
    const survived = result.exitCode === 0
    if (!survived || blow.victim === 'postgres') this.#hits++
    const expected = 'afterMs' in blow && blow.victim === 'interrupt' ? 75 : 'SIGKILL'
    if (!survived && (result.exitCode ?? result.signal) !== expected) this.#unexpected(schema, blow, result)
    return survived ? 'complete' : 'again'
  }

  #hit(pid: number, victim: Victim | 'interrupt'): void {
    if (victim === 'postgres' || victim === 'both') signal(serverPid(this.#dataDir), 'SIGKILL')
    if (victim === 'indexer' || victim === 'both') signal(-pid, 'SIGKILL')
    if (victim === 'interrupt') signal(-pid, 'SIGINT')
  }

  async #finish(schema: string): Promise<void> {
    for (let runs = 0; runs < maxQuietRuns; runs++) {
      const result = await this.#wait(startIndexer(this.#args(schema)))
      if (result.exitCode === 0) return
      this.#unexpected(schema, 'no blow', result)
    }
    throw new Error(`the crawl of ${schema} does not complete: ${this.#differences.at(-1)}`)
  }

  async #wait(indexer: ReturnType<typeof startIndexer>): Promise<RunResult> {
    const late = setTimeout(() => signal(-indexer.pid, 'SIGKILL'), runTimeoutMs)
    const result = await indexer.ended
    clearTimeout(late)
    if (result.ms >= runTimeoutMs) this.#differences.push(`a run took ${result.ms} ms`)
    return result
  }

  #unexpected(schema: string, blow: Blow | string, { exitCode, signal, stderr }: RunResult): void {
    const end = `${exitCode ?? signal}: ${stderr.slice(-1500)}`
    this.#differences.push(`${schema}: after ${JSON.stringify(blow)} the indexer ended with ${end}`)
  }

  #args(schema: string): string[] {
    const { relayUrl, plcUrl } = this.#network
    return [
      ...['run', '--no-live', '--relay', relayUrl, '--plc', plcUrl, '--allow-private-hosts', '--schema', schema],
      ...['--source', this.#source],
      ...['--data-dir', this.#dataDir, '--collections', '*', '--repo-memory', '512KiB', '--memory', '8MiB'],
      ...['--retry-delay', '0.05', '--max-attempts', '3', '--log-json', '--log-level', 'warn'],
    ]
  }

  /** Every line that a reader of the views can see, without the times of indexing. */
  async #dump(schema: string): Promise<Map<string, number>> {
    const embedded = await openEmbeddedDatabase({ dataDir: this.#dataDir, log: { debug() {}, warn() {} } })
    const client = new Client({ connectionString: embedded.url })
    await client.connect()
    try {
      return await readViews(client, schema)
    } finally {
      await client.end()
      await embedded.stop()
    }
  }

  /** I8: temporary files of killed walks are gone at the end. */
  #leftovers(): string[] {
    const folder = join(this.#dataDir, 'spill')
    return existsSync(folder) ? readdirSync(folder).map((file) => `left over: ${file}`) : []
  }
}

function killAt({ step, times, victim }: Extract<Blow, { step: StepName }>, dataDir: string): Record<string, string> {
  return { INDEXER_KILL_AT: `${step}:${times}:${victim}`, INDEXER_KILL_PIDFILE: pidFile(dataDir) }
}

/** Repos that the database called done after a blow, and how often they had been asked for by then. */
class DoneRepos {
  readonly #network: Network
  readonly #requests = new Map<string, number>()

  constructor(network: Network) {
    this.#network = network
  }

  /** Looks only if the server lives: starting it is the next run's task. */
  async look(dataDir: string, schema: string): Promise<void> {
    if (!signal(serverPid(dataDir), 0)) return
    const config = JSON.parse(readFileSync(join(dataDir, 'postgres/server.json'), 'utf8'))
    const client = new Client({ connectionString: urlOf({ config }) })
    client.on('error', () => {})
    try {
      await client.connect()
      const { rows } = await client.query<{ did: string }>(`select did from ${schema}.repos where state = 'done'`)
      for (const { did } of rows) {
        if (!this.#requests.has(did)) this.#requests.set(did, this.#network.requests.getRepo.get(did) ?? 0)
      }
    } catch {
      // Killed before it had tables, or the server is starting after a crash.
    } finally {
      await client.end().catch(() => {})
    }
  }

  fetchedAgain(): string[] {
    return [...this.#requests].flatMap(([did, before]) => {
      const now = this.#network.requests.getRepo.get(did) ?? 0
      return now === before ? [] : [`${did} was done after ${before} requests and has had ${now}`]
    })
  }
}

function pidFile(dataDir: string): string {
  return join(dataDir, 'postgres/data/postmaster.pid')
}

function serverPid(dataDir: string): number {
  return existsSync(pidFile(dataDir)) ? Number(readFileSync(pidFile(dataDir), 'latin1').split('\n')[0]) : 0
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    if (pid === 0) return false
    process.kill(pid, name)
    return true
  } catch {
    return false
  }
}

/** A server that outlived its last indexer ends with the test. */
async function stopServer(dataDir: string): Promise<void> {
  const pid = serverPid(dataDir)
  signal(pid, 'SIGINT')
  for (let waited = 0; waited < 100 && signal(pid, 0); waited++) await sleep(50)
}
