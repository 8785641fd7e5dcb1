// The peers' walks of `bench:peers`: a CAR in memory in, its records out, decoded. Each in the fastest form that its package has;
// neither is asked to check a hash or a signature, and neither looks at the order or the depth of keys. What else they offer, tried on
// 100 small repos: @atproto/repo 54 µs a record here, by its leaves 51 to 56, getContents 61, verifyRepoCar 100; @atcute/repo 8, its stream 12.
import { fromUint8Array } from '@atcute/repo'
import { stringifyLex } from '@atproto/api'
import { MemoryBlockstore, Repo, readCarWithRoot } from '@atproto/repo'

export interface WalkedRecord {
  collection: string
  rkey: string
  /** The 32 bytes of the record's CID. */
  digest: Uint8Array
  record: unknown
}

export interface PeerWalk {
  records(car: Buffer): Iterable<WalkedRecord> | AsyncIterable<WalkedRecord>
  stringify(value: unknown): string
}

const digestAt = 4

export const walkAtcute: PeerWalk = {
  *records(car) {
    for (const { collection, rkey, record, carEntry } of fromUint8Array(car)) {
      yield { collection, rkey, digest: carEntry.cid.bytes.subarray(digestAt), record }
    }
  },
  stringify: JSON.stringify,
}

export const walkAtproto: PeerWalk = {
  async *records(car) {
    const { root, blocks } = await readCarWithRoot(car, { skipCidVerification: true })
    const repo = await Repo.load(new MemoryBlockstore(blocks), root)
    for await (const { collection, rkey, cid, record } of repo.walkRecords()) {
      yield { collection, rkey, digest: cid.bytes.subarray(digestAt), record }
    }
  },
  stringify: stringifyLex,
}
