// The verb `demo`: the whole job without a network. A relay, PDSs and a PLC directory start as a process of their own on
// loopback and serve generated, signed repos; the production crawl then runs on them as on any network.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { makeFolder } from 'repo-stream'
import { IndexerError } from './errors.ts'
import { connect } from './open-database.ts'
import type { Options } from './options.ts'
import { type RunIo, run } from './run.ts'
import { runSql } from './sql.ts'

/** Relay, PLC directory and the three PDSs. */
const portsNeeded = 5
/** First ports that are tried: below the range from which systems give out ports by themselves. */
const firstPorts = Array.from({ length: 50 }, (_, index) => 29_170 + index * 10)
/** The demo's servers end by themselves, whatever becomes of us. */
const maxServerSeconds = 6 * 3600

const exampleQuery = `select a.handle, left(p.text, 48) as post, count(*) as likes
from post p join "like" l on l.subject_uri = p.uri join accounts a on a.did = p.did
group by p.uri, a.handle, p.text order by likes desc, p.uri limit 5`

export async function demo(
  options: Options & { accounts: number },
  io: RunIo,
): Promise<{ output: string; exitCode: number }> {
  const { accounts } = options
  const dataDir = join(options.dataDir, 'demo')
  makeFolder(dataDir)
  await using network = await startOnPorts(dataDir, accounts)
  io.log.info({ accounts, relay: network.relayUrl, plc: network.plcUrl }, 'a demo network is up on loopback')
  const runOptions = {
    ...options,
    database: undefined,
    dataDir,
    relay: network.relayUrl,
    collectionDirectory: undefined,
    plc: [network.plcUrl],
    allowPrivateHosts: true,
  }
  await using opened = await connect(runOptions, io.log)
  const { output, exitCode } = await run(runOptions, io)
  if (io.signal.aborted) return { output, exitCode }
  const { url, schema } = opened.database
  const answer = await runSql(exampleQuery, { url, schema, timeoutMs: 60_000 })
  return {
    output: `${output}\n${exampleQuery};\n\n${answer}\nAsk more:  ./indexer sql --data-dir ${inShell(dataDir)}\n`,
    exitCode,
  }
}

/**
 * The ports of the first demo in this folder are kept: hosts are known by their URL, and a second start goes on with them. Ports that were
 * free a moment ago may be taken by a demo in another folder that starts at the same time: then the next ones are tried.
 */
async function startOnPorts(dataDir: string, accounts: number): Promise<DemoProcess> {
  const file = join(dataDir, 'ports.json')
  const kept: unknown = await readFile(file, 'utf8').then(JSON.parse, () => undefined)
  if (typeof kept === 'number') {
    const network = await startNetwork(accounts, kept)
    if (network !== undefined) return network
    const message = `port ${kept} or one of the next ${portsNeeded - 1} is in use: is another demo running? Else remove ${file}`
    throw new IndexerError('DemoFailed', message)
  }
  for (const port of firstPorts) {
    const free = await Promise.all(Array.from({ length: portsNeeded }, (_, offset) => isFree(port + offset)))
    const network = free.every(Boolean) ? await startNetwork(accounts, port) : undefined
    if (network === undefined) continue
    await writeFile(file, `${port}\n`)
    return network
  }
  throw new IndexerError('DemoFailed', `no ${portsNeeded} free ports in a row from ${firstPorts[0]} on`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

interface DemoProcess extends AsyncDisposable {
  relayUrl: string
  plcUrl: string
}

/**
 * In a session of its own, so that Ctrl-C reaches us alone; it ends when its standard input closes, that is, with us. Undefined: one of
 * the ports is taken.
 */
async function startNetwork(accounts: number, port: number): Promise<DemoProcess | undefined> {
  const script = join(import.meta.dirname, '../demo/serve.ts')
  const args = ['--accounts', accounts, '--port', port, '--max-seconds', maxServerSeconds].map(String)
  const child = spawn(process.execPath, [...process.execArgv, script, ...args, '--until-stdin-closes'], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const address = await readAddress(child)
  if (address === undefined) return undefined
  return {
    ...address,
    [Symbol.asyncDispose]: async () => {
      const ended = new Promise((resolve) => child.once('close', resolve))
      child.stdin?.end()
      if (child.exitCode === null) await ended
    },
  }
}

async function readAddress(child: ChildProcess): Promise<Pick<DemoProcess, 'relayUrl' | 'plcUrl'> | undefined> {
  let errors = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString('utf8')).slice(-4000)
  })
  if (child.stdout) {
    for await (const line of createInterface({ input: child.stdout })) {
      const { relayUrl, plcUrl } = JSON.parse(line)
      return { relayUrl, plcUrl }
    }
  }
  if (errors.includes('EADDRINUSE')) return undefined
  throw new IndexerError('DemoFailed', `the demo network did not start: ${errors}`)
}

/** As a word that can be copied to a command line. */
function inShell(path: string): string {
  return /^[\w./@:+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}
