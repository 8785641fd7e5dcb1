// Copies a CAR into the archive while it is walked: the fetched chunks in, the same chunks out.
// The file takes its place in the archive only when `keep` is told that the walk has verified all of it; without that it is gone
// when the copy is disposed of. A CAR of less than a frame, as most are, touches the disk only then. The surprise: writes are
// synchronous. They go to the page cache, where a promise for each costs more than the write (a repo of 40 records: 120 µs, not
// 300). Only the rename is not: over an old file, ext4 begins to write the new one out, which takes milliseconds.
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { constants, zstdCompressSync } from 'node:zlib'
import type { Commit } from 'repo-stream'
import { type ArchivedCar, archivePath, frameBytes, trailerMagic, unfinishedPath, unwritable } from './archive.ts'
import { step } from './steps.ts'

/** Digests do not compress and text compresses well at any level: 3 makes CARs no smaller than 1 and takes 1.4 times as long. */
const compression = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

export class ArchiveCopy implements Disposable {
  readonly #dir: string
  readonly #did: string
  readonly #frames: number[] = []
  #held: Uint8Array[] = []
  #heldBytes = 0
  #unfinished: { path: string; file: number | undefined } | undefined

  constructor(dir: string, did: string) {
    this.#dir = dir
    this.#did = did
  }

  async *through(car: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of car) {
      this.#held.push(chunk)
      this.#heldBytes += chunk.length
      if (this.#heldBytes >= frameBytes) this.#writeFrame()
      yield chunk
    }
  }

  /** To be called once, after the walk and before its rows are committed: a commit without its file would never get one. */
  async keep({ rev, cid }: Commit): Promise<void> {
    try {
      const last = this.#heldBytes > 0 ? [this.#takeFrame()] : []
      const end = trailer({ did: this.#did, rev, head: Buffer.from(cid).toString('hex'), frames: this.#frames })
      const path = this.#write(Buffer.concat([...last, end]))
      this.#close()
      step('before-archived')
      await moveInto(path, archivePath(this.#dir, this.#did))
      this.#unfinished = undefined
      step('after-archived')
    } catch (cause) {
      throw unwritable(this.#dir, cause)
    }
  }

  [Symbol.dispose](): void {
    if (this.#unfinished === undefined) return
    this.#close()
    rmSync(this.#unfinished.path, { force: true })
  }

  #writeFrame(): void {
    try {
      this.#write(this.#takeFrame())
    } catch (cause) {
      throw unwritable(this.#dir, cause)
    }
  }

  #takeFrame(): Buffer {
    const frame = zstdCompressSync(Buffer.concat(this.#held, this.#heldBytes), compression)
    this.#held = []
    this.#heldBytes = 0
    this.#frames.push(frame.length)
    return frame
  }

  #write(bytes: Buffer): string {
    if (this.#unfinished === undefined) {
      const path = unfinishedPath(this.#dir)
      this.#unfinished = { path, file: openSync(path, 'wx') }
    }
    const { path, file } = this.#unfinished
    if (file === undefined) throw new Error('a copy is written to after it was kept')
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    return path
  }

  #close(): void {
    const file = this.#unfinished?.file
    if (this.#unfinished === undefined || file === undefined) return
    this.#unfinished.file = undefined
    closeSync(file)
  }
}

async function moveInto(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    await mkdir(dirname(to), { recursive: true })
    await rename(from, to)
  }
}

/** Magic number, length, JSON, length of the JSON: it is found from the end of the file. */
function trailer(car: ArchivedCar): Buffer {
  const json = Buffer.from(JSON.stringify(car))
  const bytes = Buffer.alloc(json.length + 12)
  bytes.writeUInt32LE(trailerMagic, 0)
  bytes.writeUInt32LE(json.length + 4, 4)
  json.copy(bytes, 8)
  bytes.writeUInt32LE(json.length, json.length + 8)
  return bytes
}
