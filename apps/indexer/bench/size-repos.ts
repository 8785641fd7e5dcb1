// Finished repos by the million for size.ts: a few hundred are generated and projected once, as templates; each repo after
// that is a copy of one with its own number, digests and subjects patched in place (0.3 µs a row).
// In: a claim and a template's number; out: what a walk would have handed to the writer.
import { entryOf } from 'repo-stream'
import { cidOf, encodeRecord, generateRecords } from 'repo-stream/fixtures'
import { type Config, loadConfig } from '../src/config.ts'
import { MemoryBudget } from '../src/memory-budget.ts'
import { createProjection } from '../src/project/projection.ts'
import { placeOf } from '../src/project/testing-place.ts'
import { RepoRows } from '../src/repo-rows.ts'
import { RowBuffers } from '../src/row-buffers.ts'
import type { ClaimedRepo } from '../src/state.ts'
import type { FinishedRepo, TableRows } from '../src/write.ts'
import { planRepos, recordMix } from './pipeline-population.ts'

export interface RepoSource {
  config: Config
  /** Repos of the population in turn, however many are asked for. */
  next(claim: ClaimedRepo): FinishedRepo
}

const templates = 300
/** Repos past this are written while they are walked, by another path. */
const maxRecords = 20_000
const head = Buffer.alloc(36, 7)
const rev = '3kaaaaaaaaa22'
/** Key and digest come first. */
const ownFields = 3
/** A did:plc, or the AT-URI of a record, in its short form: its last characters are an account's or a record's own. */
const leastSubjectBytes = 24
/** Characters at a subject's end that differ from its template's: 32^7 subjects for each, more than a network has. */
const subjectBytes = 7

export async function createRepoSource(seed: number): Promise<RepoSource> {
  const config = await loadConfig()
  const plan = planRepos({ seed, repos: templates, bigRepos: 0, bigRecords: 0 })
  const made = plan.map(({ did, records }) => makeTemplate(config, did, Math.min(records, maxRecords)))
  let turn = 0
  return {
    config,
    next(claim) {
      const template = made[turn++ % templates]
      if (template === undefined) throw new Error('there are templates')
      const tables = new Map(template.tables.map((table) => [table.index, patched(table, claim.id)]))
      return { ...template.totals, claim, tables }
    },
  }
}

interface Template {
  totals: Omit<FinishedRepo, 'claim' | 'tables'>
  tables: TableTemplate[]
}

interface TableTemplate {
  index: number
  rows: number
  bytes: Buffer
  /** Low half of the repo's number, the digest, and the end of the subject, by row where a row has one. */
  repos: Uint32Array
  digests: Uint32Array
  subjects: Uint32Array
}

function makeTemplate(config: Config, did: string, count: number): Template {
  const projection = createProjection(config)
  const claim = { id: 1, did, claim: '0', rev: null, hostId: 1, host: '', signingKey: null, handle: null, attempts: 0 }
  const sink = new RepoRows(claim, { budget: new MemoryBudget(1024 * 1024 * 1024), rowBuffers: new RowBuffers() })
  for (const { key, value } of generateRecords({ seed: did, did, count, mix: recordMix })) {
    const block = encodeRecord(value)
    const cid = cidOf(block)
    const [collection = '', rkey = ''] = key.split('/')
    const data = Uint8Array.from(projection.process(block, cid.subarray(4), placeOf(block)))
    projection.settle(entryOf({ collection, rkey, cid, data }), sink)
  }
  const empty = new Uint8Array()
  const commit = { did, version: 3, data: empty, rev, prev: null, sig: empty, cid: head, signedBytes: empty } as const
  const { tables, claim: _, ...totals } = sink.finish(commit)
  sink.release()
  return { totals, tables: [...tables].map(([index, table]) => findPlaces(index, { table, config })) }
}

interface Filled {
  table: TableRows
  config: Config
}

/** A row is its number of fields, then length and bytes of each: repo, rkey, digest, columns. No table here is generic. */
function findPlaces(index: number, { table: { rows, bytes: pieces }, config }: Filled): TableTemplate {
  const bytes = Buffer.concat(pieces)
  const columns = config.tables[index]?.columns ?? []
  const subject = ownFields + columns.findIndex(({ type }) => type === 'at-uri' || type === 'did')
  const repos: number[] = []
  const digests: number[] = []
  const subjects: number[] = []
  for (let at = 0; at < bytes.length; ) {
    const fields = bytes.readInt16BE(at)
    at += 2
    for (let field = 0; field < fields; field++) {
      const length = bytes.readInt32BE(at)
      at += 4
      if (field === 0) repos.push(at + 4)
      if (field === 2) digests.push(at)
      at += Math.max(0, length)
      if (field === subject && field >= ownFields && length >= leastSubjectBytes) subjects.push(at - subjectBytes)
    }
  }
  const places = { repos: Uint32Array.from(repos), digests: Uint32Array.from(digests) }
  return { index, rows, bytes, ...places, subjects: Uint32Array.from(subjects) }
}

let state = 0x9e3779b9

/** xorshift32. */
function random(): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return state >>> 0
}

const base32 = Buffer.from('234567abcdefghijklmnopqrstuvwxyz', 'latin1')

function patched({ rows, bytes, repos, digests, subjects }: TableTemplate, id: number): TableRows {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  const view = new DataView(copy.buffer)
  for (const at of repos) view.setUint32(at, id)
  for (const at of digests) {
    view.setUint32(at, random())
    view.setUint32(at + 4, random())
  }
  for (const at of subjects) {
    let bits = random()
    for (let character = 0; character < subjectBytes; character++) {
      copy[at + character] = base32[bits & 31] ?? 0
      bits = character === 5 ? random() : bits >>> 5
    }
  }
  return { rows, bytes: [copy] }
}
