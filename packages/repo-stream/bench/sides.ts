// What the bench compares: for each side, a CAR file in, a function out that walks it once and counts records and bytes.
// `cold` sides read the file in every walk, the others hold its bytes. A side loads only what it needs: its memory counts.

export interface Walked {
  records: number
  bytes: number
}

export type Walk = () => Promise<Walked> | Walked
export type Side = (path: string) => Promise<Walk>

export const sides: Readonly<Record<string, () => Promise<Side>>> = {
  ours: async () => (await import('./own-sides.ts')).ours,
  'ours verified': async () => (await import('./own-sides.ts')).oursVerified,
  'ours verified, processed': async () => (await import('./own-sides.ts')).oursProcessed,
  'cold ours': async () => (await import('./own-sides.ts')).coldOurs,
  'cold ours verified': async () => (await import('./own-sides.ts')).coldOursVerified,
  'hashing alone': async () => (await import('./hash-alone.ts')).hashAlone,
  'atcute memory': async () => (await import('./peer-sides.ts')).atcuteMemory,
  'atcute stream': async () => (await import('./peer-sides.ts')).atcuteStream,
  'ipld car': async () => (await import('./peer-sides.ts')).ipldCar,
  'atproto repo': async () => (await import('./peer-sides.ts')).atprotoRepo,
  'cold atcute memory': async () => (await import('./peer-sides.ts')).coldAtcuteMemory,
  'cold atcute stream': async () => (await import('./peer-sides.ts')).coldAtcuteStream,
  'spill crate way': async () => (await import('./spill-sides.ts')).spillCrateWay,
  'node:sqlite': async () => (await import('./sqlite-sides.ts')).nodeSqlite,
  'better-sqlite3': async () => (await import('./sqlite-sides.ts')).betterSqlite,
  'decode ours': async () => (await import('./decode-sides.ts')).decodeOurs,
  'decode atcute': async () => (await import('./decode-sides.ts')).decodeAtcute,
}
