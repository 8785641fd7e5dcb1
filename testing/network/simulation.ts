// A whole crawl under fire, from a seed: hosts, relay and directory fail at random, hosts die, accounts move, are deleted and go on
// writing, and the indexer, its database, or both are killed. When it was let finish, the tables must equal the truth.
// The seed fixes who lives where, what fails and when blows fall; the machine's timing decides what they hit.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServerRole } from 'indexer/demo/network.ts'
import { type DemoRequest, json, type Reply, xrpcError } from 'indexer/demo/server.ts'
import { openDatabase } from 'indexer/src/database.ts'
import { openEmbeddedDatabase } from 'indexer/src/embedded-database.ts'
import { createRandom, type Random } from 'repo-stream/fixtures'
import type { RepoFault } from './fake-repos.ts'
import { html } from './fake-repos.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'
import { type CrawledSource, inspectCrawl } from './inspect-crawl.ts'
import { startIndexer } from './run-indexer.ts'

export interface SimulationReport {
  readonly seed: number
  readonly source: World['source']
  readonly accounts: number
  readonly records: number
  readonly kills: number
  readonly faults: number
  readonly ms: number
  /** What is wrong, as lines; empty when all is well. */
  readonly differences: readonly string[]
}

export interface SimulationOptions {
  /** Blows before the indexer is let finish. Default 6. */
  readonly kills?: number
  readonly accounts?: number
}

interface World {
  readonly network: FakeNetwork
  readonly dataDir: string
  readonly source: CrawledSource
}

const maxFinishingRuns = 5
const runTimeoutMs = 60_000

export async function simulate(seed: number, options: SimulationOptions = {}): Promise<SimulationReport> {
  const startedMs = performance.now()
  const random = createRandom(`simulation ${seed}`)
  const network = await startFakeNetwork({
    seed,
    accounts: options.accounts ?? 60 + random.below(120),
    pdsCount: 2 + random.below(6),
    bigRepos: { count: random.below(2), records: 3000 },
    relayPageLimit: 5 + random.below(40),
  })
  const dataDir = await mkdtemp(join(tmpdir(), 'simulation-'))
  const world: World = { network, dataDir, source: random.pick(['relay', 'relay,hosts']) }
  const faults = { count: 0 }
  try {
    network.intercept = failAtRandom(network, createRandom(`faults ${seed}`), faults)
    const weather = createRandom(`weather ${seed}`)
    let kills = 0
    for (let blow = 0; blow < (options.kills ?? 6); blow++) {
      if (await runUntilBlow(world, weather)) kills++
      for (const account of network.accounts) {
        if (weather.chance(0.1)) network.edit(account, weather)
        if (weather.chance(0.02)) network.remove(account)
      }
    }
    const differences = await finish(world)
    // A pass that was interrupted goes on behind repos that were edited or deleted since: those are the next pass's. What the
    // directory did not answer of deleted ones is asked by the run after that.
    for (let passes = 0; passes < 2; passes++) differences.push(...(await finish(world)))
    differences.push(...(await inspect(world)))
    const { accounts } = network
    let records = 0
    for (const account of accounts) for (const count of Object.values(account.counts)) records += count
    return {
      seed,
      source: world.source,
      accounts: accounts.length,
      records,
      kills,
      faults: faults.count,
      ms: Math.round(performance.now() - startedMs),
      differences,
    }
  } finally {
    await network.close()
    await stopDatabase(dataDir)
    await rm(dataDir, { recursive: true, force: true })
  }
}

const indexerArgs = ({ network, dataDir, source }: World) => [
  ...['run', '--no-live', '--relay', network.relayUrl, '--plc', network.plcUrl, '--allow-private-hosts'],
  ...['--source', source],
  ...['--data-dir', dataDir, '--collections', '*', '--repo-memory', '64KiB', '--memory', '4MiB'],
  ...['--retry-delay', '0.05', '--max-attempts', '30', '--log-json', '--log-level', 'info'],
]

/** Starts the indexer and strikes after a random time. False when the crawl was done before. */
async function runUntilBlow(world: World, weather: Random): Promise<boolean> {
  const { network, dataDir } = world
  const indexer = startIndexer(indexerArgs(world))
  const mayFall = weather.pick(['indexer', 'indexer', 'database', 'both', 'interrupt'] as const)
  const afterMs = 300 + weather.below(3000)
  moveSomebody(network, weather)
  const outage = weather.chance(0.5) ? closeForAWhile(network, weather) : undefined
  const ended = await Promise.race([indexer.ended, sleep(afterMs, undefined)])
  await outage
  if (ended !== undefined) return false
  if (mayFall === 'database' || mayFall === 'both') await killDatabase(dataDir)
  if (mayFall === 'indexer' || mayFall === 'both') killGroup(indexer.pid, 'SIGKILL')
  if (mayFall === 'interrupt') killGroup(indexer.pid, 'SIGINT')
  if (mayFall === 'database') await Promise.race([indexer.ended, sleep(weather.below(2000))])
  const late = setTimeout(() => killGroup(indexer.pid, 'SIGKILL'), 2000)
  await indexer.ended
  clearTimeout(late)
  return true
}

/** Without blows, but with faults: as often as it takes to have asked for everything. */
async function finish(world: World): Promise<string[]> {
  for (let round = 0; round < maxFinishingRuns; round++) {
    const indexer = startIndexer(indexerArgs(world))
    const late = setTimeout(() => killGroup(indexer.pid, 'SIGKILL'), runTimeoutMs)
    const { exitCode, signal, stderr } = await indexer.ended
    clearTimeout(late)
    if (exitCode === 0) return []
    if (exitCode !== 75) return [`the indexer ended with ${exitCode ?? signal}: ${stderr.slice(-4000)}`]
  }
  return [`the indexer did not finish in ${maxFinishingRuns} runs`]
}

async function inspect({ network, dataDir, source }: World): Promise<string[]> {
  const embedded = await openEmbeddedDatabase({ dataDir, log: { debug: () => {}, warn: () => {} } })
  const database = await openDatabase({ url: embedded.url })
  try {
    return await inspectCrawl(database, network, source)
  } finally {
    await database.close()
    await embedded.stop()
  }
}

/** Faults that pass: one request in eight, of every kind of server. */
function failAtRandom(network: FakeNetwork, random: Random, faults: { count: number }): FakeNetwork['intercept'] {
  const share = random.fraction() * 0.25
  return (request: DemoRequest, role: ServerRole): Reply | undefined => {
    if (!random.chance(share)) return undefined
    faults.count++
    const did = request.params.get('did')
    if (role.kind !== 'pds') return random.pick(answers)()
    const account = network.accounts.find((one) => one.did === did)
    if (account !== undefined) network.repoFault(account, random.pick(repoFaults), 1)
    return undefined
  }
}

const answers: ReadonlyArray<() => Reply> = [
  () => xrpcError(500, 'InternalServerError', 'at random'),
  () => xrpcError(502, 'UpstreamFailure', 'at random'),
  () => json(429, { error: 'RateLimitExceeded', message: 'at random' }, { 'retry-after': '1' }),
  () => html(200),
  () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: '{"repos": [' }),
]

const repoFaults: readonly RepoFault[] = [
  'cut at a block',
  'cut in a block',
  'connection cut',
  'connection reset',
  'wrong encoding',
  'redirect',
  'html',
  'header only',
  'status 500',
  'status 502 html',
]

function moveSomebody(network: FakeNetwork, weather: Random): void {
  const account = weather.pick(network.accounts)
  if (account.status !== 'active' || network.requests.getRepo.has(account.did)) return
  network.migrate(account, (account.pds + 1) % network.pdsUrls.length)
}

async function closeForAWhile(network: FakeNetwork, weather: Random): Promise<void> {
  const server = weather.pick([...network.servers.values()])
  await server.close()
  await sleep(100 + weather.below(1500))
  await server.reopen()
}

const pidFile = (dataDir: string) => join(dataDir, 'postgres/data/postmaster.pid')

async function killDatabase(dataDir: string): Promise<void> {
  const pid = Number((await readFile(pidFile(dataDir), 'latin1').catch(() => '')).split('\n')[0])
  if (pid > 0) signalTo(pid, 'SIGKILL')
}

/** The server outlives a killed indexer; this simulation's ends with it. */
async function stopDatabase(dataDir: string): Promise<void> {
  const pid = Number((await readFile(pidFile(dataDir), 'latin1').catch(() => '')).split('\n')[0])
  if (!(pid > 0)) return
  signalTo(pid, 'SIGINT')
  for (let waited = 0; waited < 50 && signalTo(pid, 0); waited++) await sleep(100)
}

const killGroup = (pid: number, signal: NodeJS.Signals) => signalTo(-pid, signal)

function signalTo(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  }
}
