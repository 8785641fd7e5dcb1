// What one line of a listing means for a repo that is known already. Pure.
import type { RepoState } from './repo-states.ts'

/** One repo as listRepos gives it; listReposByCollection and files of DIDs give the DID alone. */
export interface Listed {
  did: string
  rev?: string | undefined
  /** undefined: the listing does not say. */
  active: boolean | undefined
  /** A person has named this very account. */
  isNamed?: boolean
  status?: string | undefined
}

export interface Existing {
  did: string
  state: RepoState
  rev: string | null
  hostId: number | null
  /** Its DID document was asked for, whatever came of it. */
  resolved: boolean
  status: string | null
}

/**
 * - `outdated`: its host has a newer rev than our rows.
 * - `retired`: inactive now, or for another reason than before. `revived`: active again.
 * - `doubted`: two hosts say different things of an account that nobody has looked at yet; it waits for its DID document.
 * - `wanted`: it has failed, and a person names it: it is tried again now, and the run waits for it.
 * - `claimed`: a host lists it as active that is not the one we know; the DID document decides between them.
 */
export type Verdict = 'outdated' | 'retired' | 'revived' | 'doubted' | 'wanted' | 'claimed'

/**
 * `hostId` is given for a host's own listing. After a migration both hosts list the DID, the old one as inactive; and whoever runs a
 * host may list anybody's DID. So what a host says of a repo counts only if that is the host we know; that it is active there is a
 * claim. A rev in the future is not believed either: it would outdate the repo for ever.
 */
export function judge(existing: Existing, listed: Listed, hostId: number | undefined): Verdict | undefined {
  const { state, rev } = existing
  if (state === 'failed' && listed.isNamed) return 'wanted'
  if (state === 'working' || listed.active === undefined) return undefined
  const isHome = hostId === undefined || existing.hostId === hostId
  if (!listed.active) {
    const isNew = state !== 'gone' || existing.status !== (listed.status ?? 'inactive')
    return isHome && isNew ? 'retired' : undefined
  }
  if (!isHome) {
    if (existing.hostId === null && state !== 'gone') return undefined // it waits for its document as it is
    return rev === null && !existing.resolved ? 'doubted' : 'claimed'
  }
  if (state === 'gone') return 'revived'
  const newer = listed.rev !== undefined && rev !== null && listed.rev > rev && isPast(listed.rev)
  return state === 'done' && newer ? 'outdated' : undefined
}

const tidAlphabet = '234567abcdefghijklmnopqrstuvwxyz'
const clockSkewMs = 10 * 60_000

/** A rev is a TID: 13 characters of 5 bits, the upper 53 of its 64 bits are microseconds since 1970. */
function isPast(rev: string): boolean {
  if (rev.length !== 13) return false
  let value = 0n
  for (const character of rev) {
    const digit = tidAlphabet.indexOf(character)
    if (digit < 0) return false
    value = value * 32n + BigInt(digit)
  }
  return Number(value >> 10n) / 1000 < Date.now() + clockSkewMs
}
