import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DemoNetwork, startDemoNetwork } from './network.ts'

let network: DemoNetwork

beforeAll(async () => {
  network = await startDemoNetwork({ accounts: 120, bigRepos: { count: 1, records: 500 }, relayPageLimit: 50 })
})

afterAll(async () => {
  await network.close()
})

interface Page {
  repos: Array<{ did: string; head: string; rev: string; active: boolean; status?: string }>
  cursor?: string
}

async function list(origin: string, limit: number): Promise<{ pages: number; repos: Page['repos'] }> {
  const repos: Page['repos'] = []
  let cursor: string | undefined
  let pages = 0
  do {
    const query = new URLSearchParams({ limit: String(limit), ...(cursor && { cursor }) })
    const response = await fetch(`${origin}/xrpc/com.atproto.sync.listRepos?${query}`)
    const page = (await response.json()) as Page
    repos.push(...page.repos)
    cursor = page.cursor
    pages++
  } while (cursor !== undefined)
  return { pages, repos }
}

const errorOf = async (origin: string, did: string) => {
  const response = await fetch(`${origin}/xrpc/com.atproto.sync.getRepo?did=${did}`)
  const { error } = (await response.json()) as { error: string }
  return `${response.status} ${error}`
}

test('the relay lists every active account once, and those whose end it has missed, on pages with decimal cursors', async () => {
  const { pages, repos } = await list(network.relayUrl, 1000)
  const listed = network.accounts.filter(({ status, relayKnows }) => status === 'active' || !relayKnows)
  expect(repos.map(({ did }) => did)).toEqual(listed.map(({ did }) => did))
  expect(pages).toBe(Math.floor(listed.length / 50) + 1)
})

test('a PDS lists its inactive accounts with their status and ends with an empty page', async () => {
  const { repos } = await list(network.pdsUrls[1] ?? '', 7)
  const local = network.accounts.filter(({ pds, status }) => pds === 1 && status !== 'deleted')
  expect(repos.map(({ did, status }) => `${did} ${status ?? 'active'}`)).toEqual(
    local.map(({ did, status }) => `${did} ${status}`),
  )
})

test('a repo that is gone is refused with the code that says why', async () => {
  const [deactivated, takendown, deleted] = [7, 11, 13].map((index) => network.accounts[index])
  const host = (account = deactivated) => network.pdsUrls[account?.pds ?? 0] ?? ''
  expect(await errorOf(host(deactivated), deactivated?.did ?? '')).toBe('400 RepoDeactivated')
  expect(await errorOf(host(takendown), takendown?.did ?? '')).toBe('400 RepoTakendown')
  expect(await errorOf(host(deleted), deleted?.did ?? '')).toBe('400 RepoNotFound')
})

test('the same seed gives the same repos, byte for byte', async () => {
  await using again = await startDemoNetwork({ accounts: 120, bigRepos: { count: 1, records: 500 } })
  const heads = (repos: Page['repos']) => repos.map(({ did, head }) => `${did} ${head}`)
  expect(heads((await list(again.relayUrl, 100)).repos)).toEqual(heads((await list(network.relayUrl, 100)).repos))
})
