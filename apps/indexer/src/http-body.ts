// Streams one response body: decodes its content-encoding and enforces the byte caps, the minimum rate and the deadline.
// In: the raw stream of undici. Out: decoded chunks, not copied. Whoever stops iterating releases the connection.
// Only time in which the consumer waits for the host counts against the host; a consumer that is busy costs it nothing.
import { pipeline, type Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import { IndexerError } from './errors.ts'
import { httpFailure } from './http-failure.ts'
import type { HttpLimits } from './http-limits.ts'

export interface BodyOptions {
  url: string
  /** The content-encoding header. */
  encoding: string | undefined
  maxBytes: number
  limits: HttpLimits
  /** The caller's; its reason is thrown as it is. */
  signal: AbortSignal | undefined
}

/** What `accept-encoding` may offer: what `decoderFor` decodes. */
export const acceptedEncodings = 'gzip, br, zstd'

export async function* readBody(raw: Readable, options: BodyOptions): AsyncGenerator<Uint8Array, void, void> {
  const meter = new BodyMeter(raw, options)
  let decoded = raw
  try {
    const decoder = decoderFor(options)
    if (decoder) {
      const counted = (source: AsyncIterable<Uint8Array>) => countEncoded(source, meter)
      pipeline(raw, counted, decoder, () => undefined) // an error reaches the iterator below
      decoded = decoder
      // Bytes that are here and not decoded yet are ours to wait for, not the host's to send.
      meter.decoding = () => raw.readableEnded || raw.readableLength > 0 || decoder.writableLength > 0
    }
    const chunks: AsyncIterator<unknown> = decoded[Symbol.asyncIterator]()
    for (;;) {
      meter.wait()
      const next = await chunks.next()
      meter.arrive()
      if (next.done) return
      if (!(next.value instanceof Uint8Array)) throw new TypeError('a body of bytes gave something else')
      if (!decoder) meter.encodedBytes += next.value.length
      meter.countDecoded(next.value.length)
      yield next.value
    }
  } catch (error) {
    if (options.signal?.aborted) throw options.signal.reason
    throw meter.verdict ?? httpFailure(error, options.url, 'body')
  } finally {
    meter.stop()
    decoded.destroy()
    raw.destroy()
  }
}

async function* countEncoded(source: AsyncIterable<Uint8Array>, meter: BodyMeter): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    meter.encodedBytes += chunk.length
    yield chunk
  }
}

function decoderFor({ encoding, url }: BodyOptions) {
  // One call into zlib gives at most this much: half the calls of the default, and small times 256 bodies.
  const chunkSize = 64 * 1024
  switch ((encoding ?? '').trim().toLowerCase()) {
    case '':
    case 'identity':
      return undefined
    case 'gzip':
    case 'x-gzip':
      return createGunzip({ chunkSize })
    case 'deflate':
      return createInflate({ chunkSize })
    case 'br':
      return createBrotliDecompress({ chunkSize })
    case 'zstd':
      return createZstdDecompress({ chunkSize })
  }
  throw new IndexerError('BadEncoding', `${new URL(url).host} answered in the encoding ${encoding}`, {
    details: { url, encoding },
  })
}

/** Counts bytes and waiting; a verdict destroys the stream, so that a read that waits for ever ends. */
class BodyMeter {
  encodedBytes = 0
  verdict: IndexerError | undefined
  decoding: () => boolean = () => false
  private decodedBytes = 0
  private waitingSince: number | undefined
  private waitedMs = 0
  private windowStartWaitedMs = 0
  private windowStartBytes = 0
  private readonly raw: Readable
  private readonly options: BodyOptions
  private readonly timer: NodeJS.Timeout

  constructor(raw: Readable, options: BodyOptions) {
    this.raw = raw
    this.options = options
    const tickMs = Math.min(1000, options.limits.minimumRateWindowMs / 4, options.limits.bodyTimeoutMs / 4)
    this.timer = setInterval(() => this.tick(), tickMs)
  }

  wait(): void {
    this.waitingSince = performance.now()
  }

  arrive(): void {
    this.addWaiting()
    this.waitingSince = undefined
  }

  countDecoded(bytes: number): void {
    this.decodedBytes += bytes
    const { maxBytes, limits, url } = this.options
    const { decodedBytes, encodedBytes } = this
    const details = { url, decodedBytes, encodedBytes }
    if (decodedBytes > maxBytes) {
      throw new IndexerError('BodyTooBig', `the body is larger than ${maxBytes} bytes`, { details })
    }
    if (decodedBytes > limits.expansionFreeBytes && decodedBytes > encodedBytes * limits.maxExpansion) {
      throw new IndexerError('CompressionBomb', `${encodedBytes} bytes became ${decodedBytes}`, { details })
    }
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private addWaiting(): void {
    const now = performance.now()
    if (this.waitingSince !== undefined && !this.decoding()) this.waitedMs += now - this.waitingSince
    this.waitingSince = now
  }

  private tick(): void {
    if (this.waitingSince === undefined || this.verdict) return
    this.addWaiting()
    const { limits } = this.options
    const windowMs = this.waitedMs - this.windowStartWaitedMs
    const bytes = this.encodedBytes - this.windowStartBytes
    if (this.waitedMs > limits.bodyTimeoutMs) {
      this.condemn(`not whole after ${limits.bodyTimeoutMs} ms of waiting`)
    } else if (windowMs >= limits.minimumRateWindowMs) {
      if (bytes * 1000 < limits.minimumBytesPerSecond * windowMs) {
        this.condemn(`${bytes} bytes in ${Math.round(windowMs)} ms of waiting`)
      }
      this.windowStartWaitedMs = this.waitedMs
      this.windowStartBytes = this.encodedBytes
    }
  }

  private condemn(message: string): void {
    const details = { url: this.options.url, waitedMs: Math.round(this.waitedMs), encodedBytes: this.encodedBytes }
    this.verdict = new IndexerError('BodyTooSlow', message, { details })
    this.raw.destroy(this.verdict)
  }
}
