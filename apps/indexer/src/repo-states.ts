// What can happen to a repo, and where it leads: a state and an event in, the next state out.
// A closed table: a new state or event does not compile until every cell is answered. SQL in state*.ts and write*.ts follows it.

export const repoStates = ['waiting', 'working', 'retry', 'stale', 'done', 'failed', 'gone'] as const

/**
 * - `waiting`: listed, never fetched; without a host until it is resolved.
 * - `working`: claimed by a live process.
 * - `retry`: nothing was learnt; due again at `retry_at`.
 * - `stale`: it has rows that stay visible, and is to be fetched again; `stale_reason` says why.
 * - `done`: its rows are those of `rev`.
 * - `failed`: what the host sends is wrong, or retries ran out; looked at again slowly.
 * - `gone`: the account is inactive or deleted; `status` says which.
 */
export type RepoState = (typeof repoStates)[number]

/**
 * - `resolve`: host and key are known now.
 * - `claim`: a process takes it.
 * - `commit`: rows, rejects, counts and state were written.
 * - `behind`: the same, but live events have shown a newer rev.
 * - `retry`, `fail`, `gone`: how else a fetch or a resolution ends; `gone` also from a listing or an #account event, and `retry` of
 *   what has failed also from a file or an argument that names it.
 * - `outdate`: a newer rev was listed, live events do not connect, or the config wants more than was stored.
 * - `revive`: the account is active again and has no rows; `revive-rows`: it has rows of another rev; `revive-same`: of this rev.
 * - `move`: another host lists it as active, and its DID document agrees, or is still to be asked; `move-rows`: the same for a repo that has rows.
 * - `release`: the claim's process ended; `release-rows`: the same for a repo that has rows.
 */
export type RepoEvent =
  | 'resolve'
  | 'claim'
  | 'commit'
  | 'behind'
  | 'retry'
  | 'fail'
  | 'gone'
  | 'outdate'
  | 'revive'
  | 'revive-rows'
  | 'revive-same'
  | 'move'
  | 'move-rows'
  | 'release'
  | 'release-rows'

/** null: the event means nothing in this state and changes nothing. */
export const repoTransitions: Record<RepoState, Record<RepoEvent, RepoState | null>> = {
  waiting: {
    resolve: 'waiting',
    claim: 'working',
    commit: null,
    behind: null,
    retry: 'retry',
    fail: 'failed',
    gone: 'gone',
    outdate: null,
    revive: null,
    'revive-rows': null,
    'revive-same': null,
    move: 'waiting',
    'move-rows': null,
    release: null,
    'release-rows': null,
  },
  working: {
    resolve: null,
    claim: null,
    commit: 'done',
    behind: 'stale',
    retry: 'retry',
    fail: 'failed',
    gone: 'gone',
    outdate: null, // the fetch under way may see it; else the next listing does
    revive: null,
    'revive-rows': null,
    'revive-same': null,
    move: null,
    'move-rows': null,
    release: 'waiting',
    'release-rows': 'stale',
  },
  retry: {
    resolve: 'waiting', // a failed resolution that succeeded
    claim: 'working',
    commit: null,
    behind: null,
    retry: 'retry',
    fail: 'failed',
    gone: 'gone',
    outdate: null,
    revive: null,
    'revive-rows': null,
    'revive-same': null,
    move: 'waiting',
    'move-rows': 'stale',
    release: null,
    'release-rows': null,
  },
  stale: {
    resolve: 'stale', // it moved
    claim: 'working',
    commit: null,
    behind: null,
    retry: 'retry',
    fail: 'failed',
    gone: 'gone',
    outdate: null,
    revive: null,
    'revive-rows': null,
    'revive-same': null,
    move: null,
    'move-rows': 'stale',
    release: null,
    'release-rows': null,
  },
  done: {
    resolve: 'done',
    claim: null,
    commit: null,
    behind: null,
    retry: null,
    fail: null,
    gone: 'gone',
    outdate: 'stale',
    revive: null,
    'revive-rows': null,
    'revive-same': null,
    move: null,
    'move-rows': 'stale',
    release: null,
    'release-rows': null,
  },
  failed: {
    resolve: 'waiting',
    claim: 'working',
    commit: null,
    behind: null,
    retry: 'retry',
    fail: 'failed',
    gone: 'gone',
    outdate: null, // it is looked at again anyway
    revive: null,
    'revive-rows': null,
    'revive-same': null,
    move: 'waiting',
    'move-rows': 'stale',
    release: null,
    'release-rows': null,
  },
  gone: {
    resolve: 'gone',
    claim: null,
    commit: null,
    behind: null,
    retry: null,
    fail: null,
    gone: 'gone',
    outdate: null,
    revive: 'waiting',
    'revive-rows': 'stale',
    'revive-same': 'done',
    move: 'waiting',
    'move-rows': 'stale',
    release: null,
    'release-rows': null,
  },
}

/** Repos by state, and how many there are in all: the sum of the states, always (I3). */
export type Balance = Record<RepoState | 'discovered', number>
