// The log: events with fields, on stderr. JSON lines by pino with --log-json; otherwise the same events as short text,
// written above the progress line, which is taken off the screen first and drawn again after. Warnings are bounded by
// message, host and code (log-quota.ts); the next one that is written says how many were not: `suppressed`.
import { Writable } from 'node:stream'
import pino, { type Logger, type LoggerOptions } from 'pino'
import { LogQuota } from './log-quota.ts'
import type { ProgressLine } from './progress-line.ts'

export type Log = Logger

export function openLog(options: { json: boolean; level: string; line?: ProgressLine | undefined }): Log {
  if (options.json) {
    return pino(
      { ...bounded(options.level), timestamp: pino.stdTimeFunctions.isoTime },
      pino.destination({ dest: 2, sync: true }),
    )
  }
  const text = new Writable({
    write(chunk: Buffer, _encoding, done) {
      const line = renderEvent(JSON.parse(chunk.toString('utf8')))
      if (options.line) options.line.above(line)
      else process.stderr.write(line)
      done()
    },
  })
  return pino(bounded(options.level), text)
}

const warning = 40

function bounded(level: string): LoggerOptions {
  const quota = new LogQuota()
  return {
    level,
    base: null,
    serializers: { err: pino.stdSerializers.errWithCause }, // the other one adds each cause to the message, which has it already
    hooks: {
      logMethod([fields, message, ...rest], method, level) {
        if (level !== warning) return method.apply(this, [fields, message, ...rest])
        const suppressed = quota.ask({ message: String(message), host: hostOf(fields), code: codeOf(fields) })
        if (suppressed === undefined) return
        method.apply(this, [suppressed > 0 ? { ...Object(fields), suppressed } : fields, message, ...rest])
      },
    },
  }
}

function codeOf(fields: unknown): string {
  const { code, err } = Object(fields) as { code?: unknown; err?: { code?: unknown } }
  const found = code ?? err?.code
  return typeof found === 'string' ? found : ''
}

function hostOf(fields: unknown): string | undefined {
  const { host, source } = Object(fields) as { host?: unknown; source?: unknown }
  const found = host ?? source
  return typeof found === 'string' ? found : undefined
}

const levels: Record<number, string> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' }

/** `12:00:01 warn  repo failed  did=did:plc:… code=BadSignature`; a nested value is JSON. */
export function renderEvent(event: Record<string, unknown>): string {
  const { level, time, msg, err, ...fields } = event
  const clock = new Date(Number(time)).toISOString().slice(11, 19)
  const shown = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
  )
  const error = err as { code?: string; message?: string; stack?: string } | undefined
  if (error)
    shown.push(`error=${error.code ?? 'unexpected'}: ${error.code ? error.message : (error.stack ?? error.message)}`)
  return `${clock} ${(levels[Number(level)] ?? '').padEnd(5)} ${[msg, ...shown].join('  ')}\n`
}
