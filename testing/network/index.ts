// Networks to test against: real servers from npm, and fakes with one switch for each fault.
export { type FakeNetwork, startFakeNetwork } from './fakes.ts'
export { type RealNetwork, startRealNetwork } from './real-network.ts'
export type { AccountRole, RealAccount } from './real-population.ts'
export { type ListedRecord, listAllRecords, xrpc } from './xrpc.ts'
