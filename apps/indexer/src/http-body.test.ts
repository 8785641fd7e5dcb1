import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliCompressSync, constants, createZstdCompress, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { openTestHttp, readAll, sendForEver, startTestServer, trickle, until } from './http-test-server.ts'

describe('a body', () => {
  const plain = randomBytes(300_000)
  const garbage = Buffer.alloc(1000, 'this is no compressed data') // random bytes are, now and then, the begin of some
  it.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
    ['zstd', zstdCompressSync],
    ['identity', (bytes: Buffer) => bytes],
  ])('in the encoding %s comes out as it was', async (encoding, compress) => {
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': encoding }).end(compress(plain))
    })
    await using http = openTestHttp()
    expect((await readAll(await http.get(server.origin))).equals(plain)).toBe(true)
    expect(server.requests[0]?.headers['accept-encoding']).toBe('gzip, br, zstd')
  })

  it.each([
    ['gzip', garbage, 'BadEncoding'],
    ['br', garbage, 'BadEncoding'],
    ['zstd', garbage, 'BadEncoding'],
    ['deflate', garbage, 'BadEncoding'],
    ['compress', garbage, 'BadEncoding'],
    ['gzip, br', garbage, 'BadEncoding'],
    ['gzip', gzipSync(plain).subarray(0, 200_000), 'ConnectionLost'],
    ['br', brotliCompressSync(plain).subarray(0, 200_000), 'ConnectionLost'],
    ['zstd', zstdCompressSync(plain).subarray(0, 200_000), 'ConnectionLost'],
  ])('that does not decode as %s is refused (%#)', async (encoding, bytes, code) => {
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': encoding }).end(bytes)
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code })
    await until(() => server.openSockets() <= 1)
  })

  it.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
  ])('that is a %s bomb stops early, having cost little', async (encoding, compress) => {
    const bomb = compress(Buffer.alloc(64 * 1024 ** 2))
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': encoding }).end(bomb)
    })
    await using http = openTestHttp()
    let bytes = 0
    const answer = await http.get(server.origin)
    const reading = async () => {
      for await (const chunk of answer.body) bytes += chunk.length
    }
    await expect(reading()).rejects.toMatchObject({ code: 'CompressionBomb' })
    expect(bytes).toBeLessThanOrEqual(8 * 1024 ** 2)
  })

  it('in zstd may look back 8 MiB, as RFC 9659 says, and no further', async () => {
    await using server = await startTestServer(({ url }, response) => {
      const params = { [constants.ZSTD_c_windowLog]: Number(url?.slice(1)) }
      const compressor = createZstdCompress({ params }) // a stream: it does not know that so little will come
      response.writeHead(200, { 'content-encoding': 'zstd' })
      compressor.pipe(response)
      compressor.end(plain)
    })
    await using http = openTestHttp()
    expect((await readAll(await http.get(`${server.origin}/23`))).equals(plain)).toBe(true)
    for (const windowLog of [24, 27]) {
      const reading = http.get(`${server.origin}/${windowLog}`).then(readAll)
      await expect(reading.then(({ length }) => length)).rejects.toMatchObject({ code: 'BadEncoding' })
    }
  })

  const gzipHeader = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
  const emptyBlocks = Buffer.alloc(65_000, Buffer.from([0, 0, 0, 0xff, 0xff]))
  const skippedFrame = Buffer.alloc(64 * 1024)
  skippedFrame.writeUInt32LE(0x184d2a50, 0)
  skippedFrame.writeUInt32LE(skippedFrame.length - 8, 4)
  /** A literal block that holds one byte, between empty ones. */
  const oneByte = Buffer.concat([Buffer.from([0, 1, 0, 0xfe, 0xff, 0x78]), ...Array<Buffer>(12).fill(emptyBlocks)])

  it.each([
    ['empty blocks', 'gzip', gzipHeader, emptyBlocks],
    ['empty members', 'gzip', Buffer.alloc(0), Buffer.concat(Array(3200).fill(gzipSync('')))],
    ['a name without end', 'gzip', Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255]), Buffer.alloc(65_536, 'name')],
    ['frames to skip', 'zstd', Buffer.alloc(0), skippedFrame],
  ])(
    'that decodes to nothing is refused: %s',
    async (_, encoding, begin, unit) => {
      let sentBytes = 0
      await using server = await startTestServer((_request, response) => {
        response.writeHead(200, { 'content-encoding': encoding })
        sendForEver(response, begin, () => {
          sentBytes += unit.length
          return unit
        })
      })
      await using http = openTestHttp({ limits: { minimumRateWindowMs: 60_000 } })
      await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BadEncoding' })
      expect(sentBytes).toBeLessThan(64 * 1024 ** 2) // the buffers of two sockets hold a few MiB
      await until(() => server.openSockets() === 0)
    },
    10_000,
  )

  it('that decodes to next to nothing stops when more was sent than the cap', async () => {
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      sendForEver(response, gzipHeader, () => oneByte)
    })
    await using http = openTestHttp({ limits: { minimumRateWindowMs: 60_000 } })
    const reading = http.get(server.origin, { maxBytes: 5_000_000 }).then(readAll)
    await expect(reading).rejects.toMatchObject({ code: 'BodyTooBig' })
  }, 10_000)

  it('that decodes to next to nothing has its time, though there always is something to decode', async () => {
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      sendForEver(response, gzipHeader, () => oneByte)
    })
    await using http = openTestHttp({ limits: { minimumRateWindowMs: 60_000, bodyTimeoutMs: 500 } })
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BodyTooSlow' })
  }, 10_000)

  it('that never ends stops at the cap', async () => {
    await using server = await startTestServer((_request, response) => {
      sendForEver(response, plain, () => plain)
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin, { maxBytes: 5_000_000 }).then(readAll)).rejects.toMatchObject({
      code: 'BodyTooBig',
    })
    await until(() => server.openSockets() === 0)
  })

  it('that trickles is given up, though it never stands still', async () => {
    await using server = await startTestServer((_request, response) => trickle(response, 20))
    await using http = openTestHttp()
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BodyTooSlow' })
    await until(() => server.openSockets() === 0)
  })

  it('that trickles compressed bytes without a decoded one is given up too', async () => {
    const encoded = gzipSync(plain)
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      let at = 0
      const timer = setInterval(() => response.write(encoded.subarray(at, ++at)), 20)
      response.on('close', () => clearInterval(timer))
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BodyTooSlow' })
  })

  it('that is fast at first and then trickles is given up: the rate counts per window', async () => {
    await using server = await startTestServer((_request, response) => {
      response.write(Buffer.alloc(5_000_000))
      trickle(response, 20)
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BodyTooSlow' })
  })

  it('that keeps its rate but never finishes is given up at the deadline', async () => {
    await using server = await startTestServer((_request, response) => {
      const timer = setInterval(() => response.write(Buffer.alloc(1000)), 20)
      response.on('close', () => clearInterval(timer))
    })
    await using http = openTestHttp({ limits: { bodyTimeoutMs: 500 } })
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BodyTooSlow' })
  })

  it('that stands still is given up', async () => {
    await using server = await startTestServer((_request, response) => void response.write('begin'))
    await using http = openTestHttp({ limits: { minimumRateWindowMs: 60_000 } })
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'BodyStalled' })
  })

  it('is not too slow because its reader is', async () => {
    await using server = await startTestServer((_request, response) => void response.end(Buffer.alloc(400_000)))
    await using http = openTestHttp()
    const answer = await http.get(server.origin)
    let bytes = 0
    for await (const chunk of answer.body) {
      bytes += chunk.length
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
    expect(bytes).toBe(400_000)
  })

  it('that is cut before its content-length is lost', async () => {
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('only this')
      setTimeout(() => response.destroy(), 20)
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'ConnectionLost' })
  })

  it('that is cut in the middle of its chunks is lost', async () => {
    await using server = await startTestServer((_request, response) => {
      response.write('only this')
      setTimeout(() => response.destroy(), 20)
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin).then(readAll)).rejects.toMatchObject({ code: 'ConnectionLost' })
  })

  it('that is left early, or discarded, frees its connection', async () => {
    await using server = await startTestServer((_request, response) => {
      response.write(plain)
    })
    await using http = openTestHttp({ limits: { bodyIdleTimeoutMs: 60_000 } })
    for await (const chunk of (await http.get(server.origin)).body) {
      expect(chunk.length).toBeGreaterThan(0)
      break
    }
    const answer = await http.get(server.origin)
    answer.discard()
    await until(() => server.openSockets() === 0)
  })

  it('that is read to its end leaves its connection to the next', async () => {
    await using server = await startTestServer((_request, response) => void response.end('ok'))
    await using http = openTestHttp()
    for (let round = 0; round < 5; round++) expect((await readAll(await http.get(server.origin))).toString()).toBe('ok')
    expect(server.openSockets()).toBeLessThanOrEqual(2)
  })
})

describe('a body whose chunks may be freed', () => {
  /** Reads all of it, each chunk copied before the next is asked for. */
  async function read(origin: string, { pauseMs = 0 } = {}): Promise<{ bytes: Buffer; chunks: Uint8Array[] }> {
    await using http = openTestHttp()
    const { body } = await http.get(origin, { freesChunks: true })
    const copies: Buffer[] = []
    const chunks: Uint8Array[] = []
    for await (const chunk of body) {
      copies.push(Buffer.from(chunk))
      chunks.push(chunk)
      if (pauseMs > 0) await sleep(pauseMs)
    }
    return { bytes: Buffer.concat(copies), chunks }
  }
  const isFreed = ({ buffer }: Uint8Array) => buffer instanceof ArrayBuffer && buffer.detached

  it('is whole, and its memory is free when it has been read', async () => {
    const plain = randomBytes(1_000_000)
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200, { 'content-length': plain.length }).end(plain)
    })
    const { bytes, chunks } = await read(server.origin)
    expect(bytes.equals(plain)).toBe(true)
    expect(chunks.filter(isFreed).length).toBeGreaterThan(chunks.length / 2)
  })

  it.each([
    ['small pieces, many to a read', 200, 700, 0],
    ['pieces of all sizes', 100, 50_000, 0],
    ['a reader who lets them wait', 60, 70_000, 2],
  ])('is whole when it comes in %s', async (_, count, maxBytes, pauseMs) => {
    const pieces = Array.from({ length: count }, (_, i) => randomBytes(1 + ((i * 7919) % maxBytes)))
    await using server = await startTestServer((_request, response) => {
      response.writeHead(200)
      for (const piece of pieces) response.write(piece)
      response.end()
    })
    const { bytes } = await read(server.origin, { pauseMs })
    expect(bytes.equals(Buffer.concat(pieces))).toBe(true)
  })

  it('leaves memory alone that decoders and the pool of Node still use', async () => {
    const plain = Buffer.alloc(300_000, randomBytes(10_000)) // each read of the socket decodes to more than one call gives
    await using server = await startTestServer(({ url }, response) => {
      if (url === '/tiny') response.end('0123456789')
      else response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(plain))
    })
    const { bytes, chunks } = await read(server.origin)
    expect(bytes.equals(plain)).toBe(true)
    expect(chunks.some(isFreed)).toBe(false)
    for (let i = 0; i < 20; i++) expect((await read(`${server.origin}/tiny`)).bytes.toString()).toBe('0123456789')
    expect(Buffer.from('the pool').toString()).toBe('the pool')
  })
})
