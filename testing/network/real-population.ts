// Fills a real PDS: some hundred accounts with the demo's records under their own DIDs, and among them every kind of
// account and record that is hard on an indexer. Through the public API alone, so the repos are the PDS' own.
import { createPopulation, type DemoAccount } from 'indexer/demo/population.ts'
import { recordsOf } from 'indexer/demo/records.ts'
import { tidFromMicros } from 'repo-stream/fixtures'
import { oddRecords } from './odd-records.ts'
import { adminPassword } from './real-servers.ts'
import { basicAuth, xrpc } from './xrpc.ts'

export interface RealAccount {
  readonly did: string
  readonly handle: string
  readonly role: AccountRole
}

export type AccountRole = 'plain' | 'empty' | 'big' | 'odd' | 'edited' | 'deactivated' | 'takendown' | 'deleted'

const plainAccounts = 210
const bigRecords = 3500
const writesPerCall = 200 // the PDS takes no more
const concurrency = 6

export async function populate(pdsUrl: string): Promise<RealAccount[]> {
  const population = createPopulation({
    seed: 20,
    accounts: plainAccounts,
    pdsCount: 1,
    medianRecords: 12,
    spread: 1,
    bigRepos: { count: 1, records: 300 },
  })
  const sessions = new Map<string, Session>() // by the DID of the demo's account
  await inParallel(population.accounts, async (account) => {
    sessions.set(account.did, await createAccount(pdsUrl, `plain-${account.index}.test`, 'plain'))
  })
  await inParallel(population.accounts, async (account) => {
    const session = sessions.get(account.did)
    if (session) await write(pdsUrl, session, demoWrites(account, population, sessions))
  })
  const special = [
    ...(['empty', 'odd', 'big', 'edited'] as const).map((role) => [role, 0] as const),
    ...(['deactivated', 'takendown', 'deleted'] as const).flatMap((role) => [[role, 0] as const, [role, 1] as const]),
  ]
  const rest = await Promise.all(special.map(([role, place]) => createSpecial(pdsUrl, role, `${role}-${place}.test`)))
  return [...sessions.values(), ...rest].map(({ did, handle, role }) => ({ did, handle, role }))
}

interface Session extends RealAccount {
  readonly auth: string
}

async function createAccount(pdsUrl: string, handle: string, role: AccountRole): Promise<Session> {
  const body = { handle, email: `${handle.replace('.test', '')}@example.com`, password: 'password' }
  const { did, accessJwt } = await xrpc<{ did: string; accessJwt: string }>(
    pdsUrl,
    'com.atproto.server.createAccount',
    { body },
  )
  return { did, handle, role, auth: accessJwt }
}

interface Write {
  readonly $type: string
  readonly collection: string
  readonly rkey: string
  readonly value?: unknown
}

const create = (key: string, value: unknown): Write => {
  const slash = key.indexOf('/')
  return {
    $type: 'com.atproto.repo.applyWrites#create',
    collection: key.slice(0, slash),
    rkey: key.slice(slash + 1),
    value,
  }
}

async function write(pdsUrl: string, session: Session, writes: readonly Write[]): Promise<void> {
  for (let from = 0; from < writes.length; from += writesPerCall) {
    const body = { repo: session.did, validate: false, writes: writes.slice(from, from + writesPerCall) }
    await xrpc(pdsUrl, 'com.atproto.repo.applyWrites', { auth: session.auth, body })
  }
}

/** The demo's records with real DIDs; those with blobs are left out, since the PDS wants every blob uploaded. */
function demoWrites(
  account: DemoAccount,
  population: ReturnType<typeof createPopulation>,
  sessions: ReadonlyMap<string, Session>,
): Write[] {
  const writes: Write[] = []
  for (const { key, value } of recordsOf(account, population)) {
    const text = JSON.stringify(value)
    if (text.includes('"blob"')) continue
    const renamed = text.replaceAll(/did:plc:[a-z2-7]{24}/g, (did) => sessions.get(did)?.did ?? did)
    writes.push(create(key, JSON.parse(renamed)))
  }
  return writes
}

async function createSpecial(pdsUrl: string, role: AccountRole, handle: string): Promise<Session> {
  const session = await createAccount(pdsUrl, handle, role)
  const admin = { auth: basicAuth(adminPassword) }
  if (role === 'odd') await write(pdsUrl, session, await oddWrites(pdsUrl, session))
  else if (role === 'big') await write(pdsUrl, session, bigWrites())
  else if (role === 'edited') await edit(pdsUrl, session)
  else if (role !== 'empty') await write(pdsUrl, session, posts(5, 'Soon gone'))
  if (role === 'deactivated')
    await xrpc(pdsUrl, 'com.atproto.server.deactivateAccount', { auth: session.auth, body: {} })
  if (role === 'deleted')
    await xrpc(pdsUrl, 'com.atproto.admin.deleteAccount', { ...admin, body: { did: session.did } })
  if (role === 'takendown') {
    const subject = { $type: 'com.atproto.admin.defs#repoRef', did: session.did }
    const body = { subject, takedown: { applied: true, ref: 'test' } }
    await xrpc(pdsUrl, 'com.atproto.admin.updateSubjectStatus', { ...admin, body })
  }
  return session
}

const startMicros = Date.UTC(2024, 2, 1) * 1000

function posts(count: number, text: string): Write[] {
  return Array.from({ length: count }, (_, index) => {
    const createdAt = new Date(startMicros / 1000 + index * 60_000).toISOString()
    const key = `app.bsky.feed.post/${tidFromMicros(startMicros + index, 7)}`
    return create(key, { $type: 'app.bsky.feed.post', text: `${text} ${index}`, createdAt })
  })
}

/** Some MiB in posts, which every config keeps: a walk with little memory must use the disk. */
const bigWrites = () => posts(bigRecords, '大きなリポジトリは、少ないメモリでも読める。'.repeat(12))

/** Many commits: records created one by one, changed, deleted, and the same record under several keys. */
async function edit(pdsUrl: string, session: Session): Promise<void> {
  const created = posts(60, 'First version')
  for (let from = 0; from < created.length; from += 6) await write(pdsUrl, session, created.slice(from, from + 6))
  const changed = created.filter((_, index) => index % 3 === 0)
  await write(
    pdsUrl,
    session,
    changed.map((one) => ({
      ...one,
      $type: 'com.atproto.repo.applyWrites#update',
      value: { $type: 'app.bsky.feed.post', text: 'Second version', createdAt: '2024-03-02T00:00:00.000Z' },
    })),
  )
  const removed = created.filter((_, index) => index % 3 === 1)
  await write(
    pdsUrl,
    session,
    removed.map(({ collection, rkey }) => ({ $type: 'com.atproto.repo.applyWrites#delete', collection, rkey })),
  )
}

async function oddWrites(pdsUrl: string, session: Session): Promise<Write[]> {
  const body = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  )
  const { blob } = await xrpc<{ blob: unknown }>(pdsUrl, 'com.atproto.repo.uploadBlob', { auth: session.auth, body })
  return oddRecords(blob).map(({ key, value }) => create(key, value))
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      for (const item of queue) await work(item)
    }),
  )
}
