// What a host can do wrong with one repo, one entry for each fault: the right answer to getRepo in, the wrong one out.
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { DemoAccount } from 'indexer/demo/population.ts'
import type { DemoRequest, Reply } from 'indexer/demo/server.ts'
import { json, xrpcError } from 'indexer/demo/server.ts'
import { buildRepo, makeSigningKey, type SigningKey, tidFromMicros } from 'repo-stream/fixtures'
import { breakCar, type CarFault, isCarFault } from './fake-cars.ts'

/** What a fault may use to make its answer. */
export interface RepoContext {
  readonly request: DemoRequest
  readonly account: DemoAccount
  readonly signingKey: SigningKey
  /** Another account that has a repo. */
  readonly neighbour: DemoAccount
  readonly pdsUrl: string
  records(): Iterable<{ key: string; value: unknown }>
  /** What its host would answer for an account. */
  answer(did: string): Promise<Reply>
}

export type RepoFault = keyof typeof repoFaults | CarFault | `status ${number}` | `status ${number} html`

export async function breakRepo(fault: RepoFault, context: RepoContext): Promise<Reply> {
  if (isNamed(fault)) return await repoFaults[fault](context)
  if (isCarFault(fault)) {
    const car = await carOf(context)
    const { account, signingKey } = context
    const [headerEnd = 0] = sectionEnds(car)
    return carReply(breakCar(fault, { ...account, signingKey, car, headerEnd }))
  }
  const [, status = '500', form] = fault.split(' ')
  if (form === 'html') return html(Number(status))
  return xrpcError(Number(status), statusErrors[status] ?? 'InternalServerError', `The fake answers ${status}`)
}

const isNamed = (fault: RepoFault): fault is keyof typeof repoFaults => fault in repoFaults

const statusErrors: Readonly<Record<string, string>> = {
  400: 'InvalidRequest',
  401: 'AuthMissing',
  403: 'Forbidden',
  404: 'RepoNotFound',
  429: 'RateLimitExceeded',
}

const repoFaults = {
  /** The body ends cleanly after half of the blocks. */
  'cut at a block': async (context: RepoContext) => {
    const car = await carOf(context)
    const ends = sectionEnds(car)
    return carReply(car.subarray(0, ends[Math.floor(ends.length / 2)]))
  },
  /** The body ends cleanly inside a block. */
  'cut in a block': async (context: RepoContext) => {
    const car = await carOf(context)
    return carReply(car.subarray(0, Math.floor(car.length / 2)))
  },
  /** The connection breaks in the middle. */
  'connection cut': async (context: RepoContext) => {
    const car = await carOf(context)
    return carReply(
      (function* () {
        yield car.subarray(0, Math.floor(car.length / 2))
        throw new Error('cut')
      })(),
    )
  },
  /** The connection breaks before the answer. */
  'connection reset': () => Promise.reject(new Error('reset')),
  /** A few bytes a second. */
  trickle: async (context: RepoContext) => {
    const car = await carOf(context)
    return plain(carReply(trickle(car, context.request.signal)))
  },
  /** Some bytes, then nothing. */
  stall: async (context: RepoContext) => {
    const car = await carOf(context)
    return plain(carReply(stall(car.subarray(0, 100), context.request.signal)))
  },
  /** The request is taken and never answered. */
  'no answer': async ({ request }: RepoContext) => {
    await forever(request.signal)
    return json(500, {})
  },
  /** A repo, and after it blocks that nothing refers to, without end. */
  endless: async (context: RepoContext) => plain(carReply(endless(await carOf(context)))),
  /** A repo, and after it 40 MiB of its last block again: more than a repo in its host's slot. */
  huge: async (context: RepoContext) => plain(carReply(padded(await carOf(context)))),
  /** A repo, and after it 256 MiB of its last block again, all in about a MiB. */
  'gzip bomb': async (context: RepoContext) => ({
    status: 200,
    headers: { 'content-type': 'application/vnd.ipld.car', 'content-encoding': 'gzip' },
    body: bomb(await carOf(context)),
  }),
  'wrong encoding': async (context: RepoContext) => {
    const reply = carReply(await carOf(context))
    return { ...reply, headers: { ...reply.headers, 'content-encoding': 'gzip' } }
  },
  /** 302 to a place that serves the repo. */
  redirect: async (context: RepoContext) => {
    const { request, pdsUrl, account } = context
    if (request.params.has('redirected')) return await context.answer(account.did)
    return redirectTo(`${pdsUrl}/xrpc/com.atproto.sync.getRepo?did=${account.did}&redirected=1`)
  },
  'redirect loop': ({ pdsUrl, account }: RepoContext) =>
    redirectTo(`${pdsUrl}/xrpc/com.atproto.sync.getRepo?did=${account.did}`),
  'rate limited': () => json(429, { error: 'RateLimitExceeded', message: 'Slow down' }, { 'retry-after': '1' }),
  /** 200 and a page for people. */
  html: () => html(200),
  /** 200, the right type, no bytes. */
  empty: () => plain(carReply(new Uint8Array())),
  /** The CAR's header and no block, as a PDS answers a `since` in the future. */
  'header only': async (context: RepoContext) => {
    const car = await carOf(context)
    return carReply(car.subarray(0, sectionEnds(car)[0]))
  },
  'wrong account': ({ answer, neighbour }: RepoContext) => answer(neighbour.did),
  'flipped byte': async (context: RepoContext) => {
    const car = Uint8Array.from(await carOf(context))
    const ends = sectionEnds(car)
    const end = ends[Math.floor(ends.length / 2)] ?? car.length
    car[end - 1] = (car[end - 1] ?? 0) ^ 1
    return carReply(car)
  },
  'bad signature': ({ account, records }: RepoContext) =>
    rebuilt(account, records, { signingKey: makeSigningKey('somebody else') }),
  'future rev': ({ account, records, signingKey }: RepoContext) =>
    rebuilt(account, records, { signingKey, rev: tidFromMicros(Date.UTC(2200, 0, 1) * 1000, 0) }),
} as const satisfies Record<string, (context: RepoContext) => Reply | Promise<Reply>>

interface Rebuild {
  readonly signingKey: SigningKey
  readonly rev?: string
}

function rebuilt(
  account: DemoAccount,
  records: RepoContext['records'],
  { signingKey, rev = account.rev }: Rebuild,
): Reply {
  return carReply(buildRepo({ did: account.did, signingKey, records: Array.from(records()), rev }).car)
}

async function carOf({ account, answer }: RepoContext): Promise<Uint8Array> {
  const { body } = await answer(account.did)
  if (body === undefined || typeof body === 'string') return new Uint8Array()
  if (body instanceof Uint8Array) return body
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Where each section of a CAR ends; the first is the header. */
function sectionEnds(car: Uint8Array): number[] {
  const ends: number[] = []
  for (let at = 0; at < car.length; ) {
    let length = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = car[at++] ?? 0
      length += (byte & 127) * shift
      if (byte < 128) break
    }
    at += length
    ends.push(at)
  }
  return ends
}

const carReply = (body: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Reply => ({
  status: 200,
  headers: { 'content-type': 'application/vnd.ipld.car' },
  body,
})

/** Uncompressed: a compressor would hold a few bytes back. */
const plain = (reply: Reply): Reply => ({ ...reply, headers: { ...reply.headers, 'content-encoding': 'identity' } })

export const html = (status: number): Reply => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body: '<!doctype html><title>Welcome</title><p>This domain is parked.',
})

const redirectTo = (location: string): Reply => ({ status: 302, headers: { location } })

async function* trickle(car: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < car.length; at += 8) {
    yield car.subarray(at, at + 8)
    await sleep(100, undefined, { signal })
  }
}

async function* stall(bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield bytes
  await forever(signal)
}

async function forever(signal: AbortSignal): Promise<void> {
  await sleep(2 ** 31 - 1, undefined, { signal, ref: false })
}

function* endless(car: Uint8Array): Generator<Uint8Array> {
  yield car
  const many = lastBlockRepeated(car, 64 * 1024)
  for (;;) yield many
}

function* padded(car: Uint8Array): Generator<Uint8Array> {
  yield car
  const part = lastBlockRepeated(car, 1024 * 1024)
  for (let count = 0; count < 40; count++) yield part
}

/** gzip members may follow one another: the repo, then 64 times the same 4 MiB. */
function* bomb(car: Uint8Array): Generator<Uint8Array> {
  yield gzipSync(car)
  const member = gzipSync(lastBlockRepeated(car, 4 * 1024 * 1024))
  for (let count = 0; count < 64; count++) yield member
}

function lastBlockRepeated(car: Uint8Array, bytes: number): Uint8Array {
  const ends = sectionEnds(car)
  const block = car.subarray(ends.at(-2), ends.at(-1))
  return Buffer.concat(Array.from({ length: Math.ceil(bytes / block.length) }, () => block))
}
