// The verb `rejects`: what could not be stored, by code and collection; `rejects replay` makes rows of it after a fix.
import { loadConfig } from './config.ts'
import { connectExisting, openCrawlDatabase } from './open-database.ts'
import type { Options } from './options.ts'
import { count } from './progress.ts'
import { replayRejects, summarizeRejects } from './rejects.ts'
import type { RunIo } from './run.ts'
import { confirmSchema } from './schema.ts'
import { renderTable } from './sql.ts'
import { openState } from './state.ts'

type Outcome = Promise<{ output: string; exitCode: number }>

export async function rejectsVerb(options: Options, { log }: RunIo): Outcome {
  await using opened = await connectExisting(options, log)
  const rows = await summarizeRejects(opened.database)
  const cells = rows.map(({ kind, code, collection, count: records, example }) => [
    kind,
    code,
    collection,
    count(records),
    example,
  ])
  return { output: renderTable(['kind', 'code', 'collection', 'count', 'example'], cells), exitCode: 0 }
}

export async function replayVerb(options: Options & { code?: string; collection?: string }, io: RunIo): Outcome {
  const config = await loadConfig({ path: options.config, collections: options.collections })
  await using opened = await openCrawlDatabase(options, { config, log: io.log, after: 'run' })
  const state = await openState(opened.database, { log: io.log })
  try {
    await confirmSchema(opened.database, config)
    const { stored, rejected, left } = await replayRejects(opened.database, {
      config,
      process: state.process,
      code: options.code,
      collection: options.collection,
      signal: io.signal,
      onProgress: (soFar) => io.line?.draw(`${count(soFar.stored)} stored  ${count(soFar.rejected)} rejected again`),
    })
    const output = `${count(stored)} stored, ${count(rejected)} rejected again, ${count(left)} left as they are\n`
    return { output, exitCode: 0 }
  } finally {
    await state.end()
  }
}
