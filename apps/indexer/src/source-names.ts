// Sources of accounts that a person names: a file with one DID or handle a line, or the arguments of `run`. What is wrong with a
// line is told with its number and counted; the others go on. A name says nothing of revs, so of an account that is known already
// its host is asked, the one that its DID document names.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { isDid, isHandle } from './did-document.ts'
import type { Source } from './discover.ts'
import { errorClass, IndexerError } from './errors.ts'
import { getRepoStatus } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import type { Listed } from './listing.ts'
import type { Resolver } from './resolve.ts'
import type { ResolveHandle } from './resolve-handle.ts'
import type { State } from './state.ts'
import { statusOf } from './state-outcomes.ts'
import { Slots } from './write-slots.ts'

export interface NamesContext {
  fetch: FetchContext
  resolver: Resolver
  resolveHandle: ResolveHandle
  state: Pick<State, 'settledRepos'>
  log: Record<'debug' | 'warn', (values: object, message: string) => void>
  signal: AbortSignal
}

interface Name {
  line: number
  /** undefined: it is longer than any name. */
  text: string | undefined
}

/** Lines whose names are looked up together, and committed with the place behind them. */
const linesPerPage = 1000
/** Look-ups at the same time. */
const lookUps = 32
/** Bad lines that are told; the others are only counted: the file may be something else altogether. */
const maxTold = 50
/** A DID has at most 2,048 characters. */
const maxLineBytes = 4096

/** Its cursor is `BYTE:LINE`, where the next page begins. */
export function fileSource(path: string, context: NamesContext): Source {
  const name = `file ${path}`
  const told = { lines: 0 }
  return {
    name,
    version: () => hashFile(path),
    async page(cursor = '0:0') {
      const [start = 0, line = 0] = cursor.split(':').map(Number)
      const { names, next } = await readNames(path, { start, line })
      return { ...(await lookUpNames(names, { ...context, source: name, told })), cursor: next }
    },
  }
}

export function argumentSource(names: readonly string[], context: NamesContext): Source {
  const name = 'arguments'
  return {
    name,
    version: async () =>
      createHash('sha256')
        .update([...names].sort().join('\n'))
        .digest('hex'),
    isComplete: true,
    async page() {
      const lines = names.map((text, index) => ({ line: index + 1, text: cleanName(text) }))
      return { ...(await lookUpNames(lines, { ...context, source: name, told: { lines: 0 } })), cursor: undefined }
    },
  }
}

/** Throws `BadUsage`: what was typed is told at once, before anything is begun. */
export function checkNames(names: readonly string[]): void {
  const wrong = names.find((name) => readName(name) === undefined)
  if (wrong === undefined) return
  throw new IndexerError(
    'BadUsage',
    `"${wrong}" is neither a DID nor a handle, such as did:plc:... or alice.example.com`,
  )
}

/** A DID, or a handle in lower case; `at://` and `@` before it go. undefined: neither. */
export function readName(text: string): string | undefined {
  const name = text.replace(/^(at:\/\/|@)/, '')
  const handle = name.toLowerCase()
  if (isHandle(handle)) return handle
  return isDid(name) ? name : undefined
}

const cleanName = (line: string) =>
  line
    .replace(/^\uFEFF/, '')
    .replace(/#.*/, '')
    .trim()

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk)
  } catch (cause) {
    throw cannotRead(path, cause)
  }
  return hash.digest('hex')
}

const cannotRead = (path: string, cause: unknown): IndexerError =>
  new IndexerError('BadUsage', `--source file=${path} cannot be read`, { cause, details: { path } })

async function readNames(
  path: string,
  from: { start: number; line: number },
): Promise<{ names: Name[]; next: string | undefined }> {
  const names: Name[] = []
  let { start, line } = from
  const file = createReadStream(path, { start })
  try {
    for await (const { bytes, text } of linesOf(file)) {
      start += bytes
      line++
      const name = text === undefined ? undefined : cleanName(text)
      if (name !== '') names.push({ line, text: name })
      if (line - from.line >= linesPerPage) return { names, next: `${start}:${line}` }
    }
  } catch (cause) {
    throw cannotRead(path, cause)
  } finally {
    file.destroy()
  }
  return { names, next: undefined }
}

/** Lines without their end, and their bytes with it; what is longer than a name can be is not kept. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<{ bytes: number; text: string | undefined }> {
  let kept: Buffer[] = []
  let bytes = 0
  const end = () => {
    const line = { bytes, text: bytes > maxLineBytes ? undefined : Buffer.concat(kept).toString('utf8') }
    kept = []
    bytes = 0
    return line
  }
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const newline = chunk.indexOf(10, at)
      const stop = newline < 0 ? chunk.length : newline + 1
      bytes += stop - at
      if (bytes <= maxLineBytes) kept.push(chunk.subarray(at, stop))
      at = stop
      if (newline >= 0) yield end()
    }
  }
  if (bytes > 0) yield end()
}

interface LookUp extends NamesContext {
  source: string
  told: { lines: number }
}

async function lookUpNames(names: readonly Name[], context: LookUp): Promise<{ rows: Listed[]; refused: number }> {
  const slots = new Slots(lookUps)
  const found = await Promise.all(names.map((name) => slots.run(() => didOf(name, context))))
  const dids = [...new Set(found.filter((did) => did !== undefined))]
  const settled = await context.state.settledRepos(dids)
  const rows = await Promise.all(
    dids.map(async (did) =>
      settled.has(did) ? await slots.run(() => askHost(did, context)) : { did, active: undefined, isNamed: true },
    ),
  )
  return { rows, refused: found.filter((did) => did === undefined).length }
}

async function didOf({ line, text }: Name, context: LookUp): Promise<string | undefined> {
  const { signal, told, log, source } = context
  const name = text && readName(text)
  try {
    if (!name) throw new IndexerError('HandleNotFound', 'neither a DID nor a handle')
    return isDid(name) ? name : await context.resolveHandle(name, signal)
  } catch (error) {
    if (signal.aborted || !(error instanceof IndexerError)) throw error
    if (++told.lines <= maxTold) {
      const { code, message: reason } = error
      log.warn({ source, line, name: text?.slice(0, 300), code, reason }, 'a line that names no account')
    }
    return undefined
  }
}

/** What its host says of an account now. Whatever goes wrong says nothing: the account stays as it is. */
async function askHost(did: string, { fetch, resolver, signal, log }: LookUp): Promise<Listed> {
  try {
    const { host } = await resolver.resolve(did, { signal })
    return await getRepoStatus({ host, did }, fetch)
  } catch (error) {
    const kind = errorClass(error)
    if (signal.aborted || kind === undefined || kind === 'stop-run') throw error
    if (kind === 'gone') return { did, active: false, status: statusOf((error as IndexerError).code) }
    log.debug({ did, err: error }, 'the status of an account could not be asked')
    return { did, active: undefined }
  }
}
