// Waits until processes have come to rest: one that has answered goes on collecting garbage and compiling on threads of its
// own, for a second after @atproto/repo's walks, and whoever is asked next would run against that.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Ten ticks of the kernel's clock, in which processor time is told. */
const windowMs = 100
const maxWindows = 30
/** Where there is no /proc to ask. */
const blindWindows = 5

/** Ends when none of the processes has used a tick for a window, or after three seconds. */
export async function waitForRest(pids: readonly number[]): Promise<void> {
  let before = ticksOf(pids)
  if (before === undefined) return sleep(windowMs * blindWindows)
  for (let i = 0; i < maxWindows; i++) {
    await sleep(windowMs)
    const now = ticksOf(pids)
    if (now === before) return
    before = now
  }
}

/** Processor time of all threads of all the processes, in ticks. */
function ticksOf(pids: readonly number[]): number | undefined {
  try {
    let ticks = 0
    for (const pid of pids) {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // from the third: the name may hold blanks
      ticks += Number(fields[11]) + Number(fields[12]) // utime and stime
    }
    return ticks
  } catch {
    return undefined
  }
}
