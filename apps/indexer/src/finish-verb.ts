// The verb `finish`, and the end of a crawl's first pass: builds the secondary indexes and shows how far it is.
import { loadConfig } from './config.ts'
import { type FinishProgress, finish } from './finish.ts'
import { openCrawlDatabase } from './open-database.ts'
import type { Options } from './options.ts'
import { duration, size } from './progress.ts'
import type { RunIo } from './run.ts'

export async function finishVerb(options: Options, io: RunIo): Promise<{ output: string; exitCode: number }> {
  const config = await loadConfig({ path: options.config, collections: options.collections })
  await using opened = await openCrawlDatabase(options, { config, log: io.log, after: 'run' })
  const result = await finish(opened.database, { config, signal: io.signal, onProgress: showIndexes(io) })
  if (result.busy) return { output: 'Another process is building indexes.\n', exitCode: 75 }
  const lines = [
    ...result.dropped.map((name) => `dropped  ${name} (half built, or out of date)`),
    ...result.built.map(({ name, ms, bytes }) => `built    ${name}  ${duration(ms)}  ${size(bytes)}`),
    `${result.built.length} built, ${result.present.length} were there`,
  ]
  return { output: `${lines.join('\n')}\n`, exitCode: 0 }
}

/** For `onProgress` of `finish`: on the progress line, or as log events. */
export function showIndexes({ log, line }: Pick<RunIo, 'log' | 'line'>): (progress: FinishProgress) => void {
  return ({ work, name, number, of, fraction, phase }) => {
    const part = fraction === undefined ? phase : `${Math.round(fraction * 100)} %`
    if (line) line.draw(`${work} ${number} of ${of}  ${name}  ${part}`)
    else log.info({ [work]: name, number, of, fraction, phase }, work === 'index' ? 'building an index' : 'vacuuming')
  }
}
