// The database of a verb: the one that `--database` names, else the embedded one, brought up to date or only connected to.
// Closing it closes the connections first and then stops the embedded server if nobody else uses it.
import { resolve } from 'node:path'
import type { Config } from './config.ts'
import { type Database, migrate, openDatabase } from './database.ts'
import { outage } from './database-outage.ts'
import { hasEmbeddedDatabase, openEmbeddedDatabase } from './embedded-database.ts'
import { IndexerError } from './errors.ts'
import type { Log } from './log.ts'
import type { Options } from './options.ts'
import { applySchema, refuseOtherTables } from './schema.ts'

export interface OpenedDatabase extends AsyncDisposable {
  database: Database
}

type DatabaseOptions = Pick<Options, 'database' | 'dataDir' | 'schema'>

/** Runs migrations and makes the collection tables of `config`. `after`: of a run that must have been before, with such a config. */
export async function openCrawlDatabase(
  options: DatabaseOptions & Partial<Pick<Options, 'citus'>>,
  { config, log, after = 'nothing' }: { config: Config; log: Log; after?: 'nothing' | 'run' },
): Promise<OpenedDatabase> {
  const opened = await (after === 'run' ? connectExisting : connect)(options, log)
  try {
    const ran = await migrate(opened.database)
    if (ran.length > 0) log.debug({ migrations: ran }, 'migrated')
    if (after === 'run') await refuseOtherTables(opened.database, config)
    await applySchema(opened.database, { config, citus: options.citus ?? false })
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
  return opened
}

/** For verbs that ask or mend what a run has made: they make nothing where there is nothing. Throws `NoDatabase`. */
export async function connectExisting(options: DatabaseOptions, log: Log): Promise<OpenedDatabase> {
  const dataDir = resolve(options.dataDir)
  if (options.database === undefined && !hasEmbeddedDatabase(dataDir)) {
    throw new IndexerError(
      'NoDatabase',
      `there is no database in ${dataDir}: give the --data-dir or --database of the run`,
    )
  }
  const opened = await connect(options, log)
  const { pool, schema } = opened.database
  try {
    const { rowCount } = await pool.query('select 1 where to_regclass($1) is not null', [`${schema}.repos`])
    if (rowCount === 0) {
      const message = `the database has no schema ${schema} of the indexer: give the --schema of the run`
      throw new IndexerError('NoDatabase', message)
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
  return opened
}

/** Connects; an embedded database is made where there is none. */
export async function connect(options: DatabaseOptions, log: Log): Promise<OpenedDatabase> {
  outage.tellTo(log)
  const embedded =
    options.database === undefined ? await openEmbeddedDatabase({ dataDir: resolve(options.dataDir), log }) : undefined
  try {
    const database = await openDatabase({ url: options.database ?? embedded?.url ?? '', schema: options.schema })
    return {
      database,
      [Symbol.asyncDispose]: async () => {
        await database.close()
        await embedded?.stop()
      },
    }
  } catch (error) {
    await embedded?.stop()
    throw error
  }
}
