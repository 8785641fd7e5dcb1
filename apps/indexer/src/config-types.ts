// The names of column types, apart from config.ts so that its helpers need not import it back.

/** `at-uri` and `did` are text; `cid` is the whole binary CID as bytea. */
export const columnTypes = [
  'text',
  'int8',
  'bool',
  'timestamptz',
  'cid',
  'at-uri',
  'did',
  'jsonb',
  'bytea',
  'text[]',
  'int8[]',
  'bool[]',
  'timestamptz[]',
  'cid[]',
  'bytea[]',
] as const

export type ColumnType = (typeof columnTypes)[number]
