// Sources of accounts that a person names: a file with one DID or handle a line, or the arguments of `run`. What is wrong with a
// line is told with its number and counted; the others go on. A name says nothing of revs, so of an account that is known already
// its host is asked, the one that its DID document names.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { isDid, isHandle } from './did-document.ts'
import type { Source } from './discover.ts'
import { errorClass, IndexerError, reasonOf } from './errors.ts'
import { getRepoStatus } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import type { Listed } from './listing.ts'
import type { Resolver } from './resolve.ts'
import type { ResolveHandle } from './resolve-handle.ts'
import { type RetryPolicy, withRetries } from './retry-policy.ts'
import type { State } from './state.ts'
import { statusOf } from './state-outcomes.ts'
import { Slots } from './write-slots.ts'

export interface NamesContext {
  fetch: FetchContext
  resolver: Resolver
  resolveHandle: ResolveHandle
  state: Pick<State, 'settledRepos'>
  retry: RetryPolicy
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
/** A domain may be dead for good, and would keep a place for minutes. */
const maxAttempts = 3
/** Bad lines that are told; the others are only counted: the file may be something else altogether. */
const maxTold = 50
/** A DID has at most 2,048 characters. */
const maxLineBytes = 4096

/** Its cursor is `BYTE:LINE:UNASKED`: where the next page begins, and handles before it whose domains could not be asked. */
export function fileSource(path: string, context: NamesContext): Source {
  const name = `file ${path}`
  const told = { lines: 0 }
  return {
    name,
    version: () => hashFile(path),
    async page(cursor = '0:0:0') {
      const [start = 0, line = 0, before = 0] = cursor.split(':').map(Number)
      const { names, next } = await readNames(path, { start, line })
      const { rows, refused, unasked } = await lookUpNames(names, { ...context, source: name, told })
      const all = before + unasked
      return next === undefined
        ? { rows, refused, cursor: undefined, unasked: all }
        : { rows, refused, cursor: `${next}:${all}` }
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
  new IndexerError('BadUsage', `--source file=${path} cannot be read: ${reasonOf(cause)}`, { cause, details: { path } })

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

/** Of one page. */
interface Tally {
  /** Handles whose domains have answered, whatever they said. */
  answered: number
  refused: number
  unasked: number
}

/** Throws `HandleUnasked` when none of many domains could be asked: then it is our network or DNS, and the page is to be tried again. */
async function lookUpNames(
  names: readonly Name[],
  context: LookUp,
): Promise<{ rows: Listed[]; refused: number; unasked: number }> {
  const slots = new Slots(lookUps)
  const tally: Tally = { answered: 0, refused: 0, unasked: 0 }
  const looked = await Promise.allSettled(names.map((name) => slots.run(() => didOf(name, tally, context))))
  for (const one of looked) if (one.status === 'rejected') throw one.reason
  const found = looked.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
  const dids = [...new Set(found)]
  const settled = await context.state.settledRepos(dids)
  const rows = await Promise.all(
    dids.map(async (did) =>
      settled.has(did) ? await slots.run(() => askHost(did, context)) : { did, active: undefined, isNamed: true },
    ),
  )
  return { rows, refused: tally.refused, unasked: tally.unasked }
}

async function didOf({ line, text }: Name, tally: Tally, context: LookUp): Promise<string | undefined> {
  const { signal, told, log, source, retry, resolveHandle } = context
  const name = text && readName(text)
  if (name && isDid(name)) return name
  const policy = { ...retry, maxAttempts: Math.min(maxAttempts, retry.maxAttempts) }
  if (tally.answered === 0 && tally.unasked >= lookUps)
    throw new IndexerError('HandleUnasked', `none of ${tally.unasked} handles could be asked for`)
  try {
    if (!name) throw new IndexerError('HandleNotFound', 'neither a DID nor a handle')
    const did = await withRetries(() => resolveHandle(name, signal), policy, { signal })
    tally.answered++
    return did
  } catch (error) {
    if (signal.aborted || !(error instanceof IndexerError)) throw error
    if (errorClass(error) === 'retry') tally.unasked++
    else {
      tally.refused++
      if (name) tally.answered++
    }
    if (++told.lines <= maxTold) {
      const { code, message: reason } = error
      log.warn(
        { source, line, name: text?.slice(0, 300), code, reason },
        errorClass(error) === 'retry' ? 'a handle that could not be asked for' : 'a line that names no account',
      )
    }
    return undefined
  }
}

/**
 * What its host says of an account now. Whatever goes wrong says nothing: the account stays as it is. One that its host does not have any
 * more may have moved since the cache, or the copy of the directory, last heard of it.
 */
async function askHost(did: string, { fetch, resolver, signal, log }: LookUp): Promise<Listed> {
  const ask = (host: string): Promise<Listed> =>
    getRepoStatus({ host, did }, fetch).catch((error) => goneFor(did, error))
  try {
    const { host } = await resolver.resolve(did, { signal })
    const listed = await ask(host)
    if (listed.active) return listed
    const { host: home } = await resolver.resolve(did, { refresh: true, signal })
    return home === host ? listed : await ask(home)
  } catch (error) {
    const kind = errorClass(error)
    if (signal.aborted || kind === undefined || kind === 'stop-run') throw error
    if (kind === 'gone') return goneFor(did, error)
    log.debug({ did, err: error }, 'the status of an account could not be asked')
    return { did, active: undefined }
  }
}

function goneFor(did: string, error: unknown): Listed {
  if (errorClass(error) !== 'gone') throw error
  return { did, active: false, status: statusOf((error as IndexerError).code) }
}
