// Fills and follows the table `identities` from a PLC directory's paged /export. In: a directory. Out: rows, and a cursor
// that a killed run goes on from. The surprise is the cursor: it is a time, and operations of one millisecond may stand on
// both sides of a page's end, so the next page begins a millisecond early; and the directory gives an operation its time before
// it commits it, so behind the last one there is a look further back. What comes twice changes nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import { errorClass, IndexerError } from './errors.ts'
import type { Http } from './http.ts'
import type { Identities } from './identities.ts'
import type { Log } from './log.ts'
import { type PlcOperation, readPlcEntry } from './plc-operation.ts'
import { readRateLimit } from './rate-limit.ts'

export interface PlcExportContext {
  http: Http
  plcUrl: string
  identities: Identities
  log: Log
  signal: AbortSignal
  /** After each page; `caughtUp`: the directory has no more for now. */
  onPage?: (page: { operations: number; caughtUp: boolean }) => void
  limits?: Partial<PlcExportLimits>
}

export const defaultPlcExportLimits = {
  /** What the directory gives at most. */
  pageOperations: 1000,
  /** An operation has 1 to 4 KiB; one of the largest that it takes, 7. */
  maxPageBytes: 32 * 1024 ** 2,
  /** Between looks for new operations once all are known. */
  pollMs: 10_000,
  /** So much later than its time an operation may turn up: the directory checks and commits it in between. */
  lateMs: 10_000,
  /** After a failure; doubled up to the next. */
  backOffMs: 1000,
  maxBackOffMs: 120_000,
}

export type PlcExportLimits = { readonly [name in keyof typeof defaultPlcExportLimits]: number }

/** Runs until `signal` aborts, and throws its reason then. Failures of the directory are waited out. */
export async function followPlcExport(context: PlcExportContext): Promise<never> {
  const limits: PlcExportLimits = { ...defaultPlcExportLimits, ...context.limits }
  const { identities, signal, log } = context
  const plcUrl = context.plcUrl.replace(/\/+$/, '')
  const source = `plc-export ${plcUrl}`
  let cursor = await identities.cursor(source)
  let failures = 0
  for (;;) {
    signal.throwIfAborted()
    try {
      const page = await readPage(`${plcUrl}/export`, cursor, { ...context, limits })
      const { operations } = page
      const finished = !page.full
      cursor = cursorAfter(cursor, page, limits)
      if (cursor !== undefined) await identities.savePage(operations, { source, cursor, finished })
      context.onPage?.({ operations: operations.length, caughtUp: finished })
      failures = 0
      if (finished) await sleep(limits.pollMs, undefined, { signal })
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (errorClass(error) !== 'retry') throw error
      const delayMs = Math.max(limits.backOffMs * 2 ** failures++, untilRetry(error))
      log.warn({ err: error, source, delayMs }, 'the export failed, will be tried again')
      await sleep(Math.min(delayMs, limits.maxBackOffMs), undefined, { signal })
    }
  }
}

interface ExportPage {
  operations: PlcOperation[]
  full: boolean
  lastAtMs: number | undefined
}

async function readPage(
  url: string,
  after: string | undefined,
  { http, signal, limits }: PlcExportContext & { limits: PlcExportLimits },
): Promise<ExportPage> {
  const query = new URLSearchParams({ count: String(limits.pageOperations), ...(after === undefined ? {} : { after }) })
  const answer = await http.get(`${url}?${query}`, {
    accept: 'application/jsonlines',
    signal,
    maxBytes: limits.maxPageBytes,
  })
  if (answer.status !== 200) {
    answer.discard()
    const { retryAfterMs } = readRateLimit(answer.headers, Date.now())
    const details = { url, status: answer.status, ...(retryAfterMs ? { retryAtMs: Date.now() + retryAfterMs } : {}) }
    throw new IndexerError('HostError', `${url} answered with ${answer.status}`, { details })
  }
  const chunks: Uint8Array[] = []
  for await (const chunk of answer.body) chunks.push(chunk)
  const lines = Buffer.concat(chunks)
    .toString('utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
  const entries = lines.map((line) => readPlcEntry(line, { allowHttp: http.allowPrivateHosts }))
  const last = entries.findLast((entry) => entry !== undefined)
  if (lines.length > 0 && !last) {
    throw new IndexerError('BadResponse', `${url} sent a page without an operation`, { details: { url } })
  }
  const operations = entries.map((entry) => entry?.operation).filter((operation) => operation !== undefined)
  return { operations, full: lines.length >= limits.pageOperations, lastAtMs: last?.createdAt.getTime() }
}

/**
 * Of a full page a millisecond before the last operation; behind it only if the whole page has been of that one millisecond. Once all
 * are known, as far back as one may be that was not there yet.
 */
function cursorAfter(
  before: string | undefined,
  { full, lastAtMs }: ExportPage,
  { lateMs }: PlcExportLimits,
): string | undefined {
  if (lastAtMs === undefined) return before
  if (!full) return new Date(Math.max(0, lastAtMs - lateMs)).toISOString()
  const early = new Date(lastAtMs - 1).toISOString()
  if (before === undefined || early > before) return early
  return new Date(Math.max(lastAtMs, Date.parse(before) + 1)).toISOString()
}

function untilRetry(error: unknown): number {
  const at = error instanceof IndexerError ? error.details.retryAtMs : undefined
  return typeof at === 'number' ? at - Date.now() : 0
}
