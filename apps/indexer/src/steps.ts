// Named points where a test may kill: a name in, nothing out, and nothing done unless INDEXER_KILL_AT names it.
// `INDEXER_KILL_AT=before-commit:3` kills this process at the third time; `:postgres` and `:both` name the victim, `:stop` only stops
// it, until somebody lets it go on.
import { readFileSync } from 'node:fs'

export const stepNames = [
  'before-page',
  'before-page-commit',
  'after-page-commit',
  'before-resolved-commit',
  'after-resolved-commit',
  'after-host-lease',
  'before-host-drop',
  'before-claim',
  'after-claim',
  'before-lock',
  'before-copy',
  'in-copy',
  'after-copy',
  'before-rejects',
  'before-state',
  'before-counts',
  'before-commit',
  'after-commit',
  'before-outcomes-commit',
  'after-outcomes',
  'before-release',
] as const

/** Those of a run with `--archive`. */
const archiveStepNames = ['before-archived', 'after-archived'] as const

/** Those of `reproject`. */
const swapStepNames = ['before-swap', 'before-swap-commit', 'after-swap'] as const

/** Those of a listing that has missed somebody. */
export const unlistedStepNames = ['before-unlisted-commit', 'before-answers-commit'] as const

const allStepNames = [...stepNames, ...archiveStepNames, ...swapStepNames, ...unlistedStepNames]

export type StepName = (typeof allStepNames)[number]

interface KillPlan {
  name: string
  times: number
  victim: 'indexer' | 'postgres' | 'both' | 'stop'
}

const plan = readPlan(process.env.INDEXER_KILL_AT)

/** Returns nothing to wait for unless a test is at work, so that it costs nothing. */
export function step(name: StepName): void {
  if (plan !== undefined && plan.name === name) kill(plan)
}

function readPlan(text: string | undefined): KillPlan | undefined {
  const [name, times = '1', victim = 'indexer'] = text?.split(':') ?? []
  if (name === undefined || name === '') return undefined
  if (victim !== 'indexer' && victim !== 'postgres' && victim !== 'both' && victim !== 'stop')
    throw new Error(`INDEXER_KILL_AT: no victim ${victim}`)
  if (!allStepNames.some((known) => known === name)) throw new Error(`INDEXER_KILL_AT: no step ${name}`)
  return { name, times: Number(times), victim }
}

function kill(plan: KillPlan): void {
  plan.times -= 1
  if (plan.times !== 0) return
  if (plan.victim === 'stop') {
    process.kill(process.pid, 'SIGSTOP')
    return
  }
  if (plan.victim !== 'indexer') {
    const path = process.env.INDEXER_KILL_PIDFILE
    if (path === undefined) throw new Error('INDEXER_KILL_PIDFILE: the postmaster.pid of the server to kill')
    process.kill(Number(readFileSync(path, 'latin1').split('\n')[0]), 'SIGKILL')
  }
  if (plan.victim !== 'postgres') process.kill(process.pid, 'SIGKILL')
}
