// CPU time and peak memory of processes that are not ours to ask, from /proc: a pid in, numbers out.
import { readdirSync, readFileSync } from 'node:fs'

export interface Usage {
  /** User and system time of all threads, and of children that have ended and were waited for. */
  cpuMs: number
  /** VmHWM. */
  peakRssBytes: number
}

const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Node runs on

/** undefined: there is no such process any more. */
export function usageOf(pid: number): Usage | undefined {
  try {
    const fields = statFields(pid)
    const ticks = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0)
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    const peakKiB = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0)
    return { cpuMs: (ticks * 1000) / ticksPerSecond, peakRssBytes: peakKiB * 1024 }
  } catch {
    return undefined
  }
}

/** Of a process and its living children: a Postgres server. */
export function cpuMsOfFamily(pid: number): number {
  const children = readdirSync('/proc')
    .map(Number)
    .filter((other) => Number.isInteger(other) && other > 0 && parentOf(other) === pid)
  return [pid, ...children].reduce((sum, member) => sum + (usageOf(member)?.cpuMs ?? 0), 0)
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(statFields(pid)[1])
  } catch {
    return undefined
  }
}

/** Those behind the name, which may hold spaces: state, parent, ... */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}
