// A clock for waits and paces: milliseconds out, which begin as those of Date.now() and never jump. Somebody who puts the machine's
// clock back by hours would else have every host and every look wait for so long. All threads of a process have the same.

export function steadyNow(): number {
  return Math.floor(performance.timeOrigin + performance.now())
}

/** What is written down, and read by other processes, is time of the machine's clock; to the second, so that it stays the same text. */
export function wallTime(steadyMs: number): number {
  return steadyMs + aheadMs()
}

export function steadyTime(wallMs: number): number {
  return wallMs - aheadMs()
}

/** How far the machine's clock was put forward since the process began. */
function aheadMs(): number {
  return Math.round((Date.now() - steadyNow()) / 1000) * 1000
}
