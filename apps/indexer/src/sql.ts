// Read-only SQL on the indexer's database, for those without psql: one query, or a prompt that takes one after another.
// Each statement runs alone (extended protocol: one statement a message) in a read-only transaction that has already
// taken its snapshot, after which Postgres refuses to make it writable.
import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import pg from 'pg'
import { noTimeouts, setSettings } from './database-session.ts'
import { IndexerError } from './errors.ts'

const maxRows = 10_000
const maxCellChars = 120

export interface SqlOptions {
  url: string
  schema: string
  /** Ends a query that runs longer; 0 for never. */
  timeoutMs: number
}

/** Runs one query and gives the printed table. Throws `QueryRefused` with what Postgres says. */
export async function runSql(query: string, options: SqlOptions): Promise<string> {
  const client = await connect(options)
  try {
    return await answer(client, query)
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error
    const hint = error.hint === undefined ? '' : ` (${error.hint})`
    throw new IndexerError('QueryRefused', `${error.message}${hint}`, {
      cause: error,
      details: { sqlState: error.code },
    })
  } finally {
    await client.end()
  }
}

/** A prompt: each statement ends with `;`, `\q` or the end of input ends it. An error is printed and the prompt goes on. */
export async function sqlPrompt(
  options: SqlOptions,
  io: { input: Readable; output: Writable; tty: boolean },
): Promise<void> {
  const client = await connect(options)
  const lines = createInterface({ input: io.input, output: io.output, terminal: io.tty, prompt: 'sql> ' })
  let statement = ''
  try {
    if (io.tty) lines.prompt()
    for await (const line of lines) {
      if (statement === '' && /^\s*(\\q|exit|quit)\s*;?\s*$/.test(line)) break
      statement += `${line}\n`
      if (/;\s*$/.test(line)) {
        io.output.write(await answer(client, statement).catch((error: Error) => `${error.message}\n`))
        statement = ''
      }
      if (io.tty) lines.prompt()
    }
    if (statement.trim() !== '')
      io.output.write(await answer(client, statement).catch((error: Error) => `${error.message}\n`))
  } finally {
    lines.close()
    await client.end()
  }
}

async function connect({ url, schema, timeoutMs }: SqlOptions): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'indexer sql',
    types: { getTypeParser: () => (text: string) => text },
  })
  client.on('error', () => {}) // a prompt that idles may lose it: the next statement says so
  await client.connect()
  // Not as `options`: those of the URL, which a hosted Postgres may ask for, would take their place.
  await setSettings(client, {
    ...noTimeouts,
    statement_timeout: String(timeoutMs),
    search_path: `${schema}, public`,
  })
  return client
}

async function answer(client: pg.Client, query: string): Promise<string> {
  await client.query('begin read only')
  try {
    await client.query('select 1')
    const { fields, rows, command } = await client.query<(string | null)[]>({
      text: query,
      rowMode: 'array',
      queryMode: 'extended',
    } as pg.QueryArrayConfig)
    return fields.length > 0
      ? renderTable(
          fields.map((field) => field.name),
          rows,
        )
      : `${command}\n`
  } finally {
    await client.query('rollback').catch(() => {}) // what broke the connection is thrown already
  }
}

/** An aligned table of text cells; numbers to the right; long cells are cut and say so with `…`. */
export function renderTable(names: readonly string[], rows: readonly (readonly (string | null)[])[]): string {
  const shown = rows.slice(0, maxRows).map((row) => row.map(cell))
  const widths = names.map((name, column) => Math.max(width(name), ...shown.map((row) => width(row[column] ?? ''))))
  const numeric = names.map(
    (_, column) => shown.length > 0 && shown.every((row) => /^(-?\d[\d,.]*|∅)$/.test(row[column] ?? '')),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((text, column) => {
        const pad = ' '.repeat((widths[column] ?? 0) - width(text))
        return numeric[column] ? pad + text : text + pad
      })
      .join('  ')
      .trimEnd()
  const more = rows.length > shown.length ? `(the first ${maxRows} of ${rows.length} rows)\n` : ''
  const total = `(${rows.length} row${rows.length === 1 ? '' : 's'})\n`
  return `${[line(names), line(widths.map((chars) => '-'.repeat(chars))), ...shown.map(line)].join('\n')}\n${more || total}`
}

function cell(value: string | null): string {
  if (value === null) return '∅'
  const text = value.replaceAll('\n', '⏎').replace(/\p{Cc}/gu, '·')
  return text.length > maxCellChars ? `${[...text].slice(0, maxCellChars - 1).join('')}…` : text
}

function width(text: string): number {
  return [...text].length
}
