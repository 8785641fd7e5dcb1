// The verb `sql`: one query from the command line, or a prompt; on the database that the other verbs would use.
import { IndexerError } from './errors.ts'
import type { Log } from './log.ts'
import { connectExisting } from './open-database.ts'
import type { Options } from './options.ts'
import { runSql, sqlPrompt } from './sql.ts'

type SqlVerbOptions = Pick<Options, 'database' | 'dataDir' | 'schema'> & { timeoutMs: number }

export async function sqlVerb(query: string | undefined, options: SqlVerbOptions, log: Log): Promise<void> {
  if (query?.trim() === '') throw new IndexerError('BadUsage', 'the query is empty')
  await using opened = await connectExisting(options, log)
  const { url, schema } = opened.database
  const sqlOptions = { url, schema, timeoutMs: options.timeoutMs }
  if (query !== undefined) {
    process.stdout.write(await runSql(query, sqlOptions))
    return
  }
  const { stdin: input, stdout: output } = process
  await sqlPrompt(sqlOptions, { input, output, tty: input.isTTY === true })
}
