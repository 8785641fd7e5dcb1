// The middle of several runs; of an even number the slower of two.

/** Throws when there is none. */
export function medianBy<One>(all: readonly One[], value: (one: One) => number): One {
  const found = all.toSorted((a, b) => value(a) - value(b))[all.length >> 1]
  if (found === undefined) throw new Error('a median needs at least one run')
  return found
}

export function median(values: readonly number[]): number {
  return medianBy(values, (value) => value)
}
