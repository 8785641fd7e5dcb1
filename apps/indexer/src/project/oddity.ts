// The closed list of reasons why a value could not be stored exactly, and their numbers inside a processed record.

/** What became of the value is in the comment; the original, as CBOR bytes, is always a row of `oddities`. */
export const oddityCodes = [
  /** Another type than the column's: null. */
  'WrongType',
  /** U+0000, which Postgres refuses: each became U+FFFD. */
  'TextNul',
  /** Invalid UTF-8 (lone surrogates among it): each became U+FFFD. */
  'TextNotUtf8',
  /** Longer than `maxTextBytes`: null. */
  'TextTooLong',
  /** Text or bytes in an indexed column, too long for an index: null. */
  'TextTooLongForIndex',
  /** Beyond 64 bits with sign: null. */
  'IntegerOutOfRange',
  /** A float where an integer belongs: null. */
  'NotAnInteger',
  /** Not an atproto datetime: null. */
  'DatetimeMalformed',
  /** Before the year 1 or after 9999: null. */
  'DatetimeOutOfRange',
  /** Finer than a microsecond: cut to the microsecond. */
  'DatetimeTooFine',
  /** Not the base32 text of a CID, or one of more than 100 bytes: null. */
  'CidMalformed',
  /** More elements than `maxArrayLength`: null. */
  'ArrayTooLong',
  /** More JSON text than `maxJsonBytes`: null. */
  'JsonTooLong',
  /** A negative zero inside JSON: became 0. */
  'NegativeZero',
  /** The record's `$type` is not its collection. The row holds what the collection's columns found in it. */
  'TypeDiffers',
] as const

export type OddityCode = (typeof oddityCodes)[number]

export const oddityNumber = Object.fromEntries(oddityCodes.map((code, number) => [code, number])) as Readonly<
  Record<OddityCode, number>
>
