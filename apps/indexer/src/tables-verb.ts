// The verb `tables`: prints the tables that a config makes, as a description or as the SQL that makes them.
import { loadConfig } from './config.ts'
import { describeTables, schemaSql } from './describe-tables.ts'
import type { Options } from './options.ts'

export async function tablesVerb(
  options: Pick<Options, 'config' | 'collections' | 'schema'> & { sql?: boolean },
): Promise<void> {
  const config = await loadConfig({ path: options.config, collections: options.collections })
  process.stdout.write(options.sql ? schemaSql(config, options.schema) : describeTables(config))
}
