// The limits of every HTTP request, with their reasons, in one table.

export const defaultHttpLimits = {
  /** TCP and TLS together. A host that needs longer is down. */
  connectTimeoutMs: 10_000,
  /** From request to headers: a PDS may take seconds to begin a repo of millions of records. */
  headersTimeoutMs: 60_000,
  /** No byte at all for this long. */
  bodyIdleTimeoutMs: 30_000,
  /** A body slower than this over a whole window is a trickle that holds a slot. Dial-up did seven times as much. */
  minimumBytesPerSecond: 1024,
  /** Window of the minimum rate. Only time spent waiting for the host counts, not time in which we were busy. */
  minimumRateWindowMs: 30_000,
  /** All the waiting for one body; a 4 GiB repo at 1.2 MB/s. */
  bodyTimeoutMs: 3600_000,
  /** Decoded bytes of one body. The largest known repos are around 1 GiB. */
  maxBodyBytes: 8 * 1024 ** 3,
  /** Decoded over encoded bytes. CARs reach 3 to 6; a gzip bomb 1,000. */
  maxExpansion: 100,
  /** Below this many decoded bytes, or an eighth of what the caller lets pass, any expansion is let pass. */
  expansionFreeBytes: 8 * 1024 ** 2,
  /** Encoded bytes that may come without a decoded one. Decoders and the buffers before them hold back a quarter of it at most. */
  maxSilentBytes: 1024 ** 2,
  /** A relay's 302 is one; a PDS behind a new name makes it two. */
  maxRedirects: 5,
  /** Sockets to one origin and of one thread, whatever the callers do: more than `--host-concurrency`, which decides. */
  maxConnectionsPerHost: 256,
  /** An idle socket is kept this long, so that thousands of small hosts do not each keep a file handle. */
  keepAliveMs: 4_000,
  /** At most this long if the host offers more. */
  keepAliveMaxMs: 10_000,
  /** Headers of one response. */
  maxHeaderBytes: 32 * 1024,
} as const

export type HttpLimits = { readonly [name in keyof typeof defaultHttpLimits]: number }
