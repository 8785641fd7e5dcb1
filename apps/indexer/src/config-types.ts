// The names of column types, apart from config.ts so that its helpers need not import it back.

/** `at-uri`, `did` and `cid` are text to who reads a view; rows hold them in short forms (project/short-forms.ts). */
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
