// Where a process runs, as text for the table `processes`, and whether what runs there is still that process.
// So a restart after kill -9 need not wait for the beat to age, as long as it is on the same machine.
import { hostname } from 'node:os'
import { pidSpace, startOf } from 'repo-stream'

/** machine, boot and pid namespace, pid and its start time: enough to know whether the process still runs. */
export function placeOf(pid: number): string {
  return `${hostname()} ${pidSpace() ?? unknown} ${pid} ${startOf(pid) ?? '?'}`
}

/** False also for places that cannot be seen from `here`, or where nothing can be seen. A stopped process is not gone. */
export function isGone(place: string, here = pidSpace() ?? unknown): boolean {
  const [machine, space, pid, start] = place.split(' ')
  return machine === hostname() && here !== unknown && space === here && startOf(Number(pid)) !== start
}

/** For people. */
export function describePlace(place: string): string {
  const [machine, , pid] = place.split(' ')
  return `pid ${pid} on ${machine}`
}

/** A system without /proc: there a dead process is known by its beat alone. */
const unknown = 'unknown'
