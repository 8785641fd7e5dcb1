// The database of a verb: the one that `--database` names, else the embedded one, brought up to date or only connected to.
// Closing it closes the connections first and then stops the embedded server if nobody else uses it.
import { resolve } from 'node:path'
import type { Config } from './config.ts'
import { type Database, migrate, openDatabase } from './database.ts'
import { openEmbeddedDatabase } from './embedded-database.ts'
import type { Log } from './log.ts'
import type { Options } from './options.ts'
import { applySchema } from './schema.ts'

export interface OpenedDatabase extends AsyncDisposable {
  database: Database
}

type DatabaseOptions = Pick<Options, 'database' | 'dataDir' | 'schema'>

/** Runs migrations and makes the collection tables of `config`. */
export async function openCrawlDatabase(
  options: DatabaseOptions & Partial<Pick<Options, 'citus'>>,
  { config, log }: { config: Config; log: Log },
): Promise<OpenedDatabase> {
  const opened = await connect(options, log)
  try {
    const ran = await migrate(opened.database)
    if (ran.length > 0) log.debug({ migrations: ran }, 'migrated')
    await applySchema(opened.database, { config, citus: options.citus ?? false })
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
  return opened
}

/** Connects; changes nothing. */
export async function connect(options: DatabaseOptions, log: Log): Promise<OpenedDatabase> {
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
