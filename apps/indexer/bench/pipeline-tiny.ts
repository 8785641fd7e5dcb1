// Any number of tiny repos without a disk: a few trees are built once, and a repo is one of them under a commit of its own,
// encoded and signed when it is asked for (0.1 ms). Its records are those of the tree; its commit stands first in the CAR.
import { hash } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import {
  buildRepo,
  cidOf,
  cidText,
  encodeRecord,
  generateRecords,
  makeDid,
  makeSigningKey,
  tidFromMicros,
  writeCar,
} from 'repo-stream/fixtures'
import secp256k1 from 'secp256k1'
import type { FarmRepo } from './pipeline-farm.ts'
import { recordMix } from './pipeline-population.ts'

const trees = 64
/** Median of the network's accounts. */
const recordsPerRepo = 20
const revMicros = 1_735_689_600_000_000

export function makeTinyRepos({ repos, seed }: { repos: number; seed: number }): FarmRepo[] {
  const templates = Array.from({ length: trees }, (_, index) => makeTemplate(`tiny ${seed} ${index}`))
  const head = cidText(cidOf(new Uint8Array()))
  return Array.from({ length: repos }, (_, index) => {
    const did = makeDid(`tiny ${seed} ${index}`)
    const rev = tidFromMicros(revMicros + index, 0)
    const template = templates[index % trees]
    if (template === undefined) throw new Error('there are trees')
    const { key, records } = template
    return { did, key, rev, head, records, car: () => [signedCar(template, { did, rev })] }
  })
}

interface Template {
  key: string
  secret: Uint8Array
  records: number
  /** CID of the tree's root. */
  data: CID
  /** All blocks but the commit, as sections of a CAR. */
  sections: Uint8Array
}

function makeTemplate(seed: string): Template {
  const secret = hash('sha256', `${seed} secret`, 'buffer')
  const did = makeDid(seed)
  const records = [...generateRecords({ seed, did, count: recordsPerRepo, mix: recordMix })]
  const repo = buildRepo({ did, signingKey: makeSigningKey(seed), records })
  const blocks = [...repo.carBlocks('pds')].filter(({ cid }) => Buffer.compare(cid, repo.commit) !== 0)
  const sections = writeCar([], blocks).subarray(writeCar([], []).length)
  return { key: didKeyOf(secret), secret, records: records.length, data: CID.decode(repo.data), sections }
}

function didKeyOf(secret: Uint8Array): string {
  const point = secp256k1.publicKeyCreate(secret, true)
  return `did:key:${base58btc.encode(Uint8Array.from([0xe7, 0x01, ...point]))}`
}

function signedCar({ secret, data, sections }: Template, { did, rev }: { did: string; rev: string }): Buffer {
  const commit = { did, rev, data, prev: null, version: 3 }
  const sig = secp256k1.ecdsaSign(hash('sha256', encodeRecord(commit), 'buffer'), secret).signature
  const bytes = Uint8Array.from(encodeRecord({ ...commit, sig })) // the CAR's header is encoded before it is copied
  const cid = cidOf(bytes)
  return Buffer.concat([writeCar([cid], [{ cid, bytes }]), sections])
}
