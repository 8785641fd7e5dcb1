import { createRandom, type Random } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { type RepoState, repoTransitions } from './repo-states.ts'
import { applySchema } from './schema.ts'
import type { ClaimedRepo, State } from './state.ts'
import { openState } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'
import { counterErrors, finish, notes, testConfig } from './testing-database-repos.ts'
import { openWriter, type Writer } from './write.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1_000_000))

test(`whatever two processes do, states add up and go only where the table says (SEED=${seed})`, async () => {
  await using database = await openTestDatabase()
  await applySchema(database, { config: testConfig })
  await recordTransitions(database)
  const random = createRandom(`states ${seed}`)
  const players = [await openPlayer(database), await openPlayer(database)]
  for (let move = 0; move < 150; move++) {
    await random.pick(moves)(random.pick(players), random)
    if (move % 10 !== 0) continue
    const { discovered, ...states } = await random.pick(players).state.readBalance()
    expect(Object.values(states).reduce((sum, repos) => sum + repos, 0)).toBe(discovered)
    expect(await counterErrors(database)).toEqual([])
  }
  const { rows } = await database.pool.query<{ was: RepoState; state: RepoState }>(
    'select distinct was, state from transitions',
  )
  const surprises = rows.filter(({ was, state }) => !Object.values(repoTransitions[was]).includes(state))
  expect(surprises).toEqual([])
  expect(rows.length).toBeGreaterThan(4) // of about a dozen kinds of moves, the seed decides how many come up
  for (const { state, writer } of players) {
    await writer.close()
    await state.end()
  }
})

interface Player {
  database: TestDatabase
  state: State
  writer: Writer
  claims: ClaimedRepo[]
}

async function openPlayer(database: TestDatabase): Promise<Player> {
  const state = await openState(database)
  const writer = openWriter({ database, config: testConfig, process: () => state.process, limits: { batchMaxMs: 1 } })
  return { database, state, writer, claims: [] }
}

const origins = ['https://one.test', 'https://two.test', 'https://three.test']
const newRev = (random: Random) => `3k${random.pick(['a', 'b', 'c', 'd', 'e'])}aaaaaaaaaa`
const due = () => new Date(Date.now() - 1_000)

/** Each does something that a crawl does, to random repos; what comes too late or twice must do no harm. */
const moves: ((player: Player, random: Random) => Promise<unknown>)[] = [
  async ({ state }, random) => {
    const source = random.pick(['relay', ...origins])
    const repos = Array.from({ length: random.below(12) }, () => ({
      did: `did:plc:${random.below(60)}`,
      rev: newRev(random),
      active: random.pick([true, true, true, true, false, undefined]),
      status: random.pick(['deactivated', 'deleted', undefined]),
    }))
    await state.readSource(source)
    const host = source === 'relay' ? {} : { host: source, hostIsTrusted: random.chance(0.5) }
    return await state.commitPage({
      source,
      cursor: String(random.below(99)),
      repos,
      finished: random.chance(0.2),
      ...host,
    })
  },
  async ({ state }, random) => {
    for (const { id } of await state.takeUnresolved(10)) {
      if (random.chance(0.7)) await state.saveResolved([{ id, origin: random.pick(origins), signingKey: 'did:key:zQ' }])
      else {
        const outcome = random.pick(['retry', 'gone', 'fail-repo'] as const)
        await state.saveUnresolved([{ id, class: outcome, code: 'DidNotFound', message: 'm', retryAt: due() }])
      }
    }
  },
  async ({ state }, random) => {
    const decisions = (await state.takeHostClaims(0, { limit: 10, isWeb: false })).map((claim) => ({
      claim,
      identity: random.chance(0.7)
        ? { host: random.pick(origins), signingKey: 'did:key:zQ', handle: undefined }
        : undefined,
    }))
    await state.decideHostClaims(decisions)
  },
  async ({ state, claims }, random) => {
    for (const { hostId } of await state.hostsWithWork()) {
      if (random.chance(0.5)) state.lookFromTheFront(hostId)
      claims.push(...(await state.claimRepos(hostId, 1 + random.below(5))))
    }
  },
  async ({ writer, claims }, random) => {
    const repos = claims
      .splice(0, random.below(8))
      .map((claim) => finish(claim, { rev: newRev(random), records: notes(random.below(4), claim.did) }))
    return await Promise.all(repos.map((repo) => writer.add(repo)))
  },
  async ({ state, claims }, random) => {
    const settle = random.pick([state.retryRepos, state.failRepos, state.goneRepos])
    const outcomes = claims
      .splice(0, random.below(4))
      .map((claim) => ({ claim, code: random.pick(['RepoDeactivated', 'HostError']), message: 'm' }))
    return await settle(outcomes.map((outcome) => ({ ...outcome, retryAt: due() })))
  },
  async ({ state, claims }, random) => await state.releaseClaims(claims.slice(0, random.below(3))),
  async ({ writer }, random) => await writer.settleGone(random.pick(['hide', 'keep', 'delete'] as const)),
  /** The other process stops for too long: its claims are void, though it does not know. */
  async ({ state, database }, random) => {
    if (!random.chance(0.3)) return
    await database.pool.query(`update processes set beat_at = now() - interval '1 hour' where id <> $1`, [
      state.process,
    ])
    await state.releaseDeadClaims()
  },
  async (player, random) => {
    if (!random.chance(0.3)) return
    await player.state.end()
    player.state = await openState(player.database)
    player.claims = []
  },
]

async function recordTransitions({ pool, schema }: TestDatabase): Promise<void> {
  await pool.query(`
    create table transitions (was ${schema}.repo_state, state ${schema}.repo_state);
    create function record_transition() returns trigger language plpgsql as $$
      begin
        insert into ${schema}.transitions values (old.state, new.state);
        return null;
      end $$;
    create trigger record_transition after update on repos for each row when (old.state <> new.state) execute function record_transition()`)
}
