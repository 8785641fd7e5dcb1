// Finds what somebody who made a typing mistake most likely meant.

/** The candidate with the fewest edits from `name`, unless even that one differs in more than a third of its letters. */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let nearest: string | undefined
  let fewest = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const edits = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (edits < fewest) {
      fewest = edits
      nearest = candidate
    }
  }
  return nearest !== undefined && fewest <= Math.max(2, nearest.length / 3) ? nearest : undefined
}

/** `; did you mean 'x'?`, or all names when nothing is near and they are few. */
export function suggestName(name: string, candidates: readonly string[]): string {
  const nearest = nearestName(name, candidates)
  if (nearest !== undefined) return `; did you mean '${nearest}'?`
  return candidates.length > 0 && candidates.length <= 20 ? `; valid are ${candidates.join(', ')}` : ''
}

/** Levenshtein distance; both texts are cut at 128 letters. */
function editDistance(from: string, to: string): number {
  const a = from.slice(0, 128)
  const b = to.slice(0, 128)
  let above = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(change, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1))
    }
    above = row
  }
  return above[b.length] ?? 0
}
