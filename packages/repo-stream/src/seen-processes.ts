// What of other processes can be seen from here, by way of /proc.
import { readFileSync, readlinkSync } from 'node:fs'

/** Among which processes a pid is unique: one boot of one machine, one container. Undefined where there is no /proc. */
export function pidSpace(): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return `${boot}:${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return undefined
  }
}

/** Clock ticks from boot to the start of a process; undefined where there is no /proc, or no such process, or a zombie. */
export function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // from field 3 on, behind the name in parentheses
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    return undefined
  }
}
