#!/usr/bin/env node
// The command `repo-stream`: looks into a CAR file, or standard input, and says what is in it. Results go to stdout,
// messages to stderr. Exit code 0: fine; 1: the CAR, its signature or the wanted record is not; 2: wrong use.
import { createReadStream } from 'node:fs'
import { tmpdir } from 'node:os'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { cidBytesText } from './cid.ts'
import { decodeRecord } from './decode-record.ts'
import { openDiskStore } from './disk-store.ts'
import { RepoStreamError } from './errors.ts'
import { loadCar } from './load-car.ts'
import { recordJson } from './record-json.ts'
import { spillPath } from './spill-dir.ts'
import type { CarSource, Entry, LoadedCar } from './types.ts'
import { verifyCommit } from './verify-commit.ts'

const usage = `repo-stream stat FILE             what the repo is: DID, rev, records and bytes by collection
repo-stream ls FILE [COLLECTION]  its records in key order: key and CID
repo-stream cat FILE KEY          one record as JSON
repo-stream verify FILE [--key DID_KEY]
                                  hashes, tree and keys; with the account's signing key also the signature
FILE is a CAR of a whole repo; - is standard input.
`

class WrongUse extends Error {}

type Command = (source: CarSource, rest: readonly string[], options: { key?: string | undefined }) => Promise<number>

const commands: Readonly<Record<string, Command>> = { stat, ls, cat, verify }

async function main(args: readonly string[]): Promise<number> {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { key: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    })
    if (values.help) return print(usage)
    const [name = '', file, ...rest] = positionals
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (command === undefined || file === undefined) throw new WrongUse(name ? `cannot do: ${name}` : 'nothing to do')
    return await command(file === '-' ? process.stdin : createReadStream(file), rest, values)
  } catch (error) {
    return explain(error)
  }
}

async function stat(source: CarSource): Promise<number> {
  const { commit, driver } = await open(source)
  const collections = new Map<string, { records: number; bytes: number }>()
  for await (const { collection, data } of entries(driver)) {
    const sums = collections.get(collection) ?? { records: 0, bytes: 0 }
    sums.records++
    sums.bytes += data.length
    collections.set(collection, sums)
  }
  print(
    `did\t${commit.did}\nrev\t${commit.rev}\ncommit\t${cidBytesText(commit.cid)}\ndata\t${cidBytesText(commit.data)}\n`,
  )
  for (const [collection, { records, bytes }] of collections)
    print(`${collection}\t${records} records\t${bytes} bytes\n`)
  const sums = [...collections.values()]
  const records = sums.reduce((sum, each) => sum + each.records, 0)
  const bytes = sums.reduce((sum, each) => sum + each.bytes, 0)
  return print(`total\t${records} records\t${bytes} bytes\n`)
}

async function ls(source: CarSource, [collection]: readonly string[]): Promise<number> {
  const { driver } = await open(source)
  let lines = ''
  for await (const entry of entries(driver)) {
    if (collection !== undefined && entry.collection !== collection) continue
    lines += `${entry.key}\t${cidBytesText(entry.cid)}\n`
    if (lines.length < 64 * 1024) continue
    await write(lines)
    lines = ''
  }
  await write(lines)
  return 0
}

async function cat(source: CarSource, [key]: readonly string[]): Promise<number> {
  if (key === undefined) throw new WrongUse('cat needs the key of a record: COLLECTION/RKEY')
  const { driver } = await open(source)
  for await (const entry of entries(driver)) {
    if (entry.key === key) return print(`${recordJson(decodeRecord(entry.data))}\n`)
  }
  process.stderr.write(`repo-stream: there is no record ${key}\n`)
  return 1
}

async function verify(
  source: CarSource,
  _rest: readonly string[],
  { key }: { key?: string | undefined },
): Promise<number> {
  const { commit, driver } = await open(source)
  let records = 0
  for await (const _entry of entries(driver)) records++
  print(`${commit.did} at ${commit.rev}: ${records} records, hashes and tree are right\n`)
  if (key === undefined) return print('the signature was not checked: give --key\n')
  const valid = await verifyCommit(commit, key)
  print(valid ? 'the signature is right\n' : `the signature is not that of ${key}\n`)
  return valid ? 0 : 1
}

async function open(source: CarSource): Promise<LoadedCar> {
  const car = await loadCar(source)
  return car.kind === 'memory' ? car : car.finishLoading(() => openDiskStore(spillPath(tmpdir())))
}

/** One entry after another; the driver is closed at the end, whatever ends it. */
async function* entries(driver: LoadedCar['driver']): AsyncGenerator<Entry> {
  await using _closing = driver
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) yield* chunk
}

function print(text: string): 0 {
  process.stdout.write(text)
  return 0
}

/** Waits until a slow reader of a pipe has taken what was printed. */
async function write(text: string): Promise<void> {
  if (process.stdout.write(text)) return
  await new Promise((resolve) => process.stdout.once('drain', resolve))
}

function explain(error: unknown): number {
  if (error instanceof RepoStreamError) {
    const place = error.cid ?? (error.offset === undefined ? undefined : `byte ${error.offset}`)
    process.stderr.write(`repo-stream: ${error.code}: ${error.message}${place ? ` (${place})` : ''}\n`)
    return 1
  }
  const message = error instanceof Error ? error.message : String(error)
  const misused = error instanceof WrongUse || (error instanceof TypeError && 'code' in error)
  process.stderr.write(misused ? `repo-stream: ${message}\n\n${usage}` : `repo-stream: ${message}\n`)
  return misused ? 2 : 1
}

process.stdout.on('error', () => process.exit(0)) // the reader of a pipe has gone, as `head` does
process.exitCode = await main(process.argv.slice(2))
