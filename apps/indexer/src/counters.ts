// Sums that are always right: changed in the transaction of what they count, last, each writer its own rows; readers add up.
import type { ClientBase } from 'pg'
import type { RepoState } from './repo-states.ts'

export type CounterName =
  | 'discovered'
  | 'rejected'
  | 'oddities'
  | 'bytes'
  | `repos/${RepoState}`
  | `rows/${string}`
  | `skipped/${string}`

/** What one transaction changes. */
export class CounterChanges {
  readonly #changes = new Map<CounterName, number>()

  add(name: CounterName, change: number): void {
    if (change !== 0) this.#changes.set(name, (this.#changes.get(name) ?? 0) + change)
  }

  move(from: RepoState, to: RepoState, repos = 1): void {
    if (from === to) return
    this.add(`repos/${from}`, -repos)
    this.add(`repos/${to}`, repos)
  }

  /** The transaction's last statement: nobody holds these rows for long, and all lock them in one order. */
  async write(client: ClientBase, writer: number): Promise<void> {
    const entries = [...this.#changes].filter(([, change]) => change !== 0)
    if (entries.length === 0) return
    const values = [entries.map(([name]) => name), entries.map(([, change]) => change), writer]
    await client.query({ name: 'counters-add', text: addCounters, values })
  }
}

const addCounters = `
  insert into counters as c (name, writer, value)
  select v.name, $3, v.value from unnest($1::text[], $2::bigint[]) as v (name, value) order by v.name
  on conflict (name, writer) do update set value = c.value + excluded.value`

/** Each connection role of each of 16 processes has its own rows; the number of rows stays bounded however often we start. */
const writersPerProcess = 8
const processSlots = 16

export function counterWriter(process: number, role: number): number {
  return (process % processSlots) * writersPerProcess + (role % writersPerProcess)
}
