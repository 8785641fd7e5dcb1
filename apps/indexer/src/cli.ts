// The command line: verbs, signals, exit codes. The only file that ends the process.
// stdout is for results, stderr for progress. A verb loads its code when it runs, so that `--help` stays instant.
import { existsSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { Command, CommanderError } from 'commander'
import { outage } from './database-outage.ts'
import type { Log } from './log.ts'
import { parseAccounts, parseTimeout } from './option-values.ts'
import { readVariables } from './option-variables.ts'
import { addOptions, type OptionName, type Options } from './options.ts'
import type { ProgressLine } from './progress-line.ts'
import { version } from './version.ts'

/**
 * What the launcher says of the largest heaps is for the main thread, and would go before the `resourceLimits` of others. Set before the
 * verbs are loaded: code is cached per set of flags.
 */
setFlagsFromString('--max-semi-space-size=0')
setFlagsFromString('--max-old-space-size=0')

const databaseOptions = ['database', 'dataDir', 'schema'] as const satisfies OptionName[]
const logOptions = ['logJson', 'logLevel'] as const satisfies OptionName[]
const configOptions = ['config', 'collections'] as const satisfies OptionName[]
const archiveOptions = [
  'archive',
  'threads',
  'memory',
  'repoMemory',
  'spillDir',
  'spillLimit',
] as const satisfies OptionName[]
const crawlOptions = [
  ...configOptions,
  'live',
  'concurrency',
  'hostConcurrency',
  'resolveConcurrency',
  'threads',
  'memory',
  'repoMemory',
  'spillDir',
  'spillLimit',
  'egress',
  'deadAfter',
  'archive',
  'maxAttempts',
  'retryDelay',
  'maxFailed',
  'verify',
  'inactive',
] as const satisfies OptionName[]

/** Taken from the working folder when `--config` names none. */
const configFile = 'indexer.config.ts'

function buildProgram(): Command {
  const mistake = readVariables(process.env)
  const program = new Command('indexer')
    .description('Index the atproto network into typed tables of your own Postgres')
    .version(version)
    .showSuggestionAfterError()
    .exitOverride()
    .hook('preAction', (_, verb) => {
      if (mistake !== undefined) program.error(`error: ${mistake}`)
      const hasConfig = verb.options.some((option) => option.attributeName() === 'config')
      if (hasConfig && verb.getOptionValue('config') === undefined && existsSync(configFile)) {
        verb.setOptionValue('config', configFile)
      }
    })
  const run = program
    .command('run')
    .argument('[accounts...]', 'DIDs or handles to index; with them nothing else is listed unless --source says so')
    .description('crawl every repo of a relay into Postgres; stopped, it goes on where it was')
  addOptions(run, [
    'relay',
    'source',
    'collectionDirectory',
    'plc',
    'plcExport',
    ...databaseOptions,
    'citus',
    ...crawlOptions,
    'allowPrivateHosts',
    'contact',
    ...logOptions,
  ])
  run.action(async (names: string[], options: Options, verb: Command) => {
    const { run } = await import('./run.ts')
    const isAlone = names.length > 0 && verb.getOptionValueSource('source') === 'default'
    await longVerb({ ...options, names, source: isAlone ? [] : options.source }, run)
  })
  const demo = program
    .command('demo')
    .description('the whole job offline: a small network on loopback, crawled into the embedded database')
  addOptions(demo, ['dataDir', 'schema', 'source', ...crawlOptions, ...logOptions])
  demo.option('--accounts <n>', 'accounts of the network', parseAccounts, 500)
  demo.action(async (options: Options & { accounts: number }) => {
    const { demo } = await import('./demo.ts')
    await longVerb(options, demo)
  })
  const tables = program.command('tables').description('print the tables that the config makes')
  addOptions(tables, [...configOptions, ...databaseOptions])
  tables.option('--sql', 'as the SQL that makes them')
  tables.option('--changes', 'how many repos and records a changed config would have fetched again, and for how long')
  tables.action(async (options: Options & { sql?: boolean; changes?: boolean }) => {
    const [{ tablesVerb }, { openLog }] = await Promise.all([import('./tables-verb.ts'), import('./log.ts')])
    await tablesVerb(options, openLog({ json: false, level: 'warn' }))
  })
  const finish = program
    .command('finish')
    .description('build the secondary indexes now, as the end of a first crawl does')
  addOptions(finish, [...databaseOptions, ...configOptions, ...logOptions])
  finish.action(async (options: Options) => {
    const { finishVerb } = await import('./finish-verb.ts')
    await longVerb(options, finishVerb)
  })
  const reproject = program
    .command('reproject')
    .description('fill the tables anew from the archive, with the present config, beside the old ones')
  addOptions(reproject, [...databaseOptions, ...configOptions, ...archiveOptions, ...logOptions])
  reproject.action(async (options: Options) => {
    const { reprojectVerb } = await import('./reproject-verb.ts')
    await longVerb(options, reprojectVerb)
  })
  const rejects = program.command('rejects').description('what could not be stored, by code and collection')
  const rejectsOptions = [...databaseOptions, ...configOptions, ...logOptions]
  addOptions(rejects, rejectsOptions)
  rejects.action(async (options: Options) => {
    const { rejectsVerb } = await import('./rejects-verb.ts')
    await longVerb(options, rejectsVerb)
  })
  const replay = rejects.command('replay').description('make rows of rejects after a fix')
  addOptions(replay, rejectsOptions)
  replay.option('--code <code>', 'only rejects with this code')
  replay.option('--collection <nsid>', 'only rejects of this collection')
  replay.action(async (_: unknown, verb: Command) => {
    const { replayVerb } = await import('./rejects-verb.ts')
    await longVerb(verb.optsWithGlobals<Options & { code?: string; collection?: string }>(), replayVerb)
  })
  const sql = program.command('sql').argument('[query]', 'one statement; without it a prompt')
  sql.description('read-only SQL on the database, no psql needed')
  addOptions(sql, [...databaseOptions, ...logOptions])
  sql.option('--timeout <seconds>', 'end a statement that takes longer (default: never)', parseTimeout)
  sql.action(async (query: string | undefined, { timeout = 0, ...options }: Options & { timeout?: number }) => {
    const [{ sqlVerb }, { openLog }] = await Promise.all([import('./sql-verb.ts'), import('./log.ts')])
    await sqlVerb(
      query,
      { ...options, timeoutMs: timeout * 1000 },
      openLog({ json: options.logJson, level: options.logLevel }),
    )
  })
  return program
}

type LongVerb<T extends Options> = (
  options: T,
  io: { log: Log; line: ProgressLine | undefined; signal: AbortSignal },
) => Promise<{ output: string; exitCode: number }>

/** Runs a verb that takes long: the first Ctrl-C (or SIGTERM) ends it in order, the second at once. */
async function longVerb<T extends Options>(options: T, verb: LongVerb<T>): Promise<void> {
  const [{ openLog }, { ProgressLine }] = await Promise.all([import('./log.ts'), import('./progress-line.ts')])
  const line = options.logJson ? undefined : new ProgressLine()
  const log = openLog({ json: options.logJson, level: options.logLevel, line })
  const stop = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(75)
    log.info({ signal }, 'stopping in order; once more ends at once')
    outage.shorten()
    stop.abort(new Error(`stopped by ${signal}`))
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    const { output, exitCode } = await verb(options, { log, line, signal: stop.signal })
    process.stdout.write(output)
    process.exitCode = exitCode
  } catch (error) {
    line?.end()
    const { isInterruption } = await import('./errors.ts')
    if (!isInterruption(error, stop.signal)) return await fail(error, options.logJson ? log : undefined)
    log.warn('stopped: the same command goes on from here')
    process.exitCode = 75
  } finally {
    line?.end()
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** What ends the process, in one line on stderr or in the log; a bug with its stack. */
async function fail(error: unknown, log?: Log): Promise<void> {
  const [{ coded, exitCodeOf, IndexerError }, { translate }] = await Promise.all([
    import('./errors.ts'),
    import('./database-transact.ts'),
  ])
  const failure = translate(coded(error))
  const stack = failure instanceof Error ? failure.stack : String(failure)
  const text = failure instanceof IndexerError ? `${failure.code}: ${failure.message}` : stack
  if (log) log.fatal({ err: failure }, 'the command has failed')
  else process.stderr.write(`indexer: ${text}\n`)
  process.exitCode = exitCodeOf(failure)
  setTimeout(() => process.exit(), 1000).unref() // a connection that failed half-way may be open still
}

// Whoever reads may go before we are done.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  process.stderr.write(`indexer: FileUnusable: stdout: ${error.message}\n`)
  process.exit(2)
})
process.stderr.on('error', () => {}) // there is nobody to tell, and the work goes on

try {
  await buildProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else await fail(error)
}
