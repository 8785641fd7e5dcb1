// The verb `tables`: prints the tables that a config makes, as a description or as the SQL that makes them, or what a change of
// the config would cost in the database.
import { type Config, loadConfig } from './config.ts'
import { describeTables, schemaSql } from './describe-tables.ts'
import type { Log } from './log.ts'
import type { Options } from './options.ts'

type TablesOptions = Pick<Options, 'config' | 'collections' | 'schema' | 'database' | 'dataDir'>

export async function tablesVerb(
  options: TablesOptions & { sql?: boolean; changes?: boolean },
  log: Log,
): Promise<void> {
  const config = await loadConfig({ path: options.config, collections: options.collections })
  if (options.changes) process.stdout.write(await describeChanges(options, { config, log }))
  else process.stdout.write(options.sql ? schemaSql(config, options.schema) : describeTables(config))
}

/** Connects to the database and changes nothing. */
export async function describeChanges(
  options: TablesOptions,
  { config, log }: { config: Config; log: Log },
): Promise<string> {
  const [{ connectExisting }, { estimateChanges }, { count, duration }] = await Promise.all([
    import('./open-database.ts'),
    import('./outdate-estimate.ts'),
    import('./progress.ts'),
  ])
  await using opened = await connectExisting(options, log)
  const { changes, total } = await estimateChanges(opened.database, config)
  if (total.repos === 0) return 'Nothing that is stored would be fetched again.\n'
  const concerned = changes.filter(({ repos }) => repos > 0)
  const lines = concerned.map(({ table, reason, repos }) => `${table}: ${reason}, ${count(repos)} repos`)
  const cost = `${count(total.repos)} repos with ${count(total.records)} records, ${duration(total.ms)} at the rate that their hosts allow`
  return `${lines.join('\n')}\nrun would fetch ${cost}; reproject takes those that are archived from there.\n`
}
