// Every limit of the projector, with the reason for its value. One table, so that a reader finds them all at once.

export const projectionLimits = {
  /** Containers inside containers. Real records stay under 10; the reader recurses, so a sender must not choose the depth. */
  maxDepth: 256,
  /** Bytes of one text value. A record is at most 1 MiB by specification, so a longer text means a broken host. */
  maxTextBytes: 1_048_576,
  /** Bytes of all values of one index entry together. Postgres refuses entries over 2,704 bytes (54000). */
  maxIndexedBytes: 2_600,
  /** Elements of one array column. The longest list in a lexicon has 1,000. */
  maxArrayLength: 65_536,
  /** Bytes of JSON text in one jsonb column: escapes can make a record six times longer. */
  maxJsonBytes: 8_388_608,
  /** Bytes of collection and rkey together: 317 + 512 by specification; Postgres keys end at 2,704. */
  maxKeyBytes: 1_024,
  /** Values kept in `oddities` for one repo; one more says how many were not kept. A broken client repeats one mistake for ever. */
  maxOdditiesPerRepo: 1_000,
  /** Bytes of those values together. */
  maxOddityBytesPerRepo: 4_194_304,
  /** Scratch memory that outlives a record. A single huge record must not pin its size for ever. */
  maxKeptScratchBytes: 8_388_608,
} as const
