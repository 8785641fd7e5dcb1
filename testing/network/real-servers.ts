// A real PDS (@atproto/pds) and a real PLC directory (@did-plc/server) on loopback, over one data folder.
// The PDS' address stands in every DID document, and its port is another each time, so a restored network updates them all, by
// signed PLC operations, as a migration would.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Secp256k1Keypair } from '@atproto/crypto'
import { PDS } from '@atproto/pds'
import { normalizeOp, type OpOrTombstone, updatePdsOp } from '@did-plc/lib'
import { MockDatabase, PlcServer } from '@did-plc/server'
import { freePort } from 'indexer/src/free-port.ts'

export const adminPassword = 'admin-of-the-testing-network'

export interface RealServers {
  readonly pdsUrl: string
  readonly plcUrl: string
  /** Every DID's operations, oldest first: what a snapshot must keep of the PLC directory. */
  plcLogs(): PlcLogs
  close(): Promise<void>
}

export type PlcLogs = Readonly<Record<string, readonly OpOrTombstone[]>>

export interface RealServersOptions {
  /** Folder of the PDS' databases and blobs. */
  readonly dir: string
  /** Private key, hex, that may change the DIDs. */
  readonly rotationKey: string
  readonly plcLogs?: PlcLogs
}

export async function startRealServers({ dir, rotationKey, plcLogs = {} }: RealServersOptions): Promise<RealServers> {
  const port = await freePort()
  const pdsUrl = `http://localhost:${port}`
  const plcDatabase = await restorePlc(plcLogs, { pdsUrl, rotationKey })
  const plcPort = await freePort()
  const plcUrl = `http://localhost:${plcPort}`
  const plc = PlcServer.create({ db: plcDatabase, port: plcPort })
  await plc.start()
  const pds = await PDS.fromEnv(pdsSettings({ dir, port, plcUrl, rotationKey }))
  await pds.start()
  return {
    pdsUrl,
    plcUrl,
    plcLogs: () => readLogs(plcDatabase),
    close: async () => {
      await pds.destroy()
      await plc.destroy()
    },
  }
}

export const newRotationKey = () => randomBytes(32).toString('hex')

function pdsSettings({
  dir,
  port,
  plcUrl,
  rotationKey,
}: {
  dir: string
  port: number
  plcUrl: string
  rotationKey: string
}) {
  return {
    devMode: true,
    port,
    dataDirectory: dir,
    blobstoreDiskLocation: join(dir, 'blobs'),
    adminPassword,
    jwtSecret: 'jwt-secret-of-the-testing-network',
    serviceHandleDomains: ['.test'],
    inviteRequired: false,
    disableSsrfProtection: true,
    didPlcUrl: plcUrl,
    plcRotationKeyK256PrivateKeyHex: rotationKey,
    bskyAppViewUrl: 'http://appview.invalid',
    bskyAppViewDid: 'did:web:appview.invalid',
    bskyAppViewCdnUrlPattern: 'http://cdn.invalid/%s/%s/%s',
    modServiceUrl: 'http://mod.invalid',
    modServiceDid: 'did:web:mod.invalid',
  }
}

/** Leaves out operations of the legacy form `create`, which no PDS of today writes. */
function readLogs({ contents }: MockDatabase): PlcLogs {
  return Object.fromEntries(
    Object.entries(contents).map(([did, ops]) => [
      did,
      ops.flatMap(({ operation }) => (operation.type === 'create' ? [] : [operation])),
    ]),
  )
}

async function restorePlc(logs: PlcLogs, move: { pdsUrl: string; rotationKey: string }): Promise<MockDatabase> {
  const database = new MockDatabase()
  const signer = await Secp256k1Keypair.import(move.rotationKey)
  for (const [did, operations] of Object.entries(logs)) {
    for (const operation of operations) await database.validateAndAddOp(did, operation)
    const last = operations.at(-1)
    if (last === undefined || last.type === 'plc_tombstone') continue
    await database.validateAndAddOp(did, await updatePdsOp(normalizeOp(last), signer, move.pdsUrl))
  }
  return database
}
