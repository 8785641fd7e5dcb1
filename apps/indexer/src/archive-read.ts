// Reads the archive: a DID in, what its file says about itself and the chunks of its CAR out.
// Nothing here is believed because it is ours: lengths are checked before anything is allocated, and the walk verifies the rest.
import { type FileHandle, open } from 'node:fs/promises'
import { zstdDecompressSync } from 'node:zlib'
import { type ArchivedCar, archivePath, frameBytes, trailerMagic } from './archive.ts'
import { IndexerError } from './errors.ts'

export interface ReadOptions {
  dir: string
  did: string
}

/** Throws `ArchiveMissing`, and `ArchiveDamaged` for a file that is cut short or not one of ours. */
export async function readArchivedHead(options: ReadOptions): Promise<ArchivedCar> {
  await using archived = await openArchived(options)
  return archived.car
}

/** The CAR in chunks of about `frameBytes`. Throws as `readArchivedHead` does, at any chunk. */
export async function* readArchivedCar(options: ReadOptions): AsyncGenerator<Uint8Array> {
  await using archived = await openArchived(options)
  let at = 0
  for (const length of archived.car.frames) {
    const frame = await readExactly(archived.file, { at, length }, options)
    at += length
    yield decompress(frame, options)
  }
}

/** A frame ends with the chunk that filled it; no host's chunk comes near this. */
const maxFrameBytes = 64 * frameBytes
const maxTrailerBytes = 16 * 1024 * 1024
const tailBytes = 4096

interface Archived extends AsyncDisposable {
  file: FileHandle
  car: ArchivedCar
}

async function openArchived(options: ReadOptions): Promise<Archived> {
  const file = await openFile(options)
  try {
    return { file, car: await readTrailer(file, options), [Symbol.asyncDispose]: () => file.close() }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function openFile({ dir, did }: ReadOptions): Promise<FileHandle> {
  try {
    return await open(archivePath(dir, did), 'r')
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw unreadable({ dir, did }, cause)
    throw new IndexerError('ArchiveMissing', `the archive has no CAR of ${did}`, { cause, details: { did } })
  }
}

/** From the end of the file. Most trailers come with the first read. */
async function readTrailer(file: FileHandle, options: ReadOptions): Promise<ArchivedCar> {
  const { size } = await file.stat()
  const tail = await readExactly(
    file,
    { at: Math.max(0, size - tailBytes), length: Math.min(size, tailBytes) },
    options,
  )
  const jsonLength = tail.length < 12 ? 0 : tail.readUInt32LE(tail.length - 4)
  const length = jsonLength + 12
  if (jsonLength === 0 || length > Math.min(size, maxTrailerBytes)) throw damaged(options, 'it has no end')
  const trailer =
    length <= tail.length ? tail.subarray(-length) : await readExactly(file, { at: size - length, length }, options)
  if (trailer.readUInt32LE(0) !== trailerMagic) throw damaged(options, 'it has no end')
  const car = parseTrailer(trailer.subarray(8, -4))
  if (car === undefined || sum(car.frames) !== size - length) throw damaged(options, 'its end does not fit')
  return car
}

function parseTrailer(json: Buffer): ArchivedCar | undefined {
  try {
    const car: unknown = JSON.parse(json.toString())
    if (typeof car !== 'object' || car === null) return undefined
    const { did, rev, head, frames } = car as Record<string, unknown>
    const isText = typeof did === 'string' && typeof rev === 'string' && typeof head === 'string'
    return isText && Array.isArray(frames) && frames.every(isFrameLength) ? { did, rev, head, frames } : undefined
  } catch {
    return undefined
  }
}

function isFrameLength(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value <= maxFrameBytes
}

async function readExactly(
  file: FileHandle,
  { at, length }: { at: number; length: number },
  options: ReadOptions,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  const { bytesRead } = await file.read(buffer, 0, length, at).catch((cause: unknown) => {
    throw unreadable(options, cause)
  })
  if (bytesRead !== length) throw damaged(options, 'it is cut short')
  return buffer
}

function decompress(frame: Buffer, options: ReadOptions): Buffer {
  try {
    return zstdDecompressSync(frame, { maxOutputLength: maxFrameBytes })
  } catch (cause) {
    throw damaged(options, 'it does not decompress', cause)
  }
}

function damaged({ did }: ReadOptions, what: string, cause?: unknown): IndexerError {
  return new IndexerError('ArchiveDamaged', `the archived CAR of ${did} is damaged: ${what}`, {
    cause,
    details: { did },
  })
}

function unreadable(options: ReadOptions, cause: unknown): IndexerError {
  return damaged(options, cause instanceof Error ? cause.message : String(cause), cause)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
