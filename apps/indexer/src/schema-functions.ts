// SQL functions that every view leans on: stored values (project/short-forms.ts) to what people see and back, the time inside
// a TID. Pure text; schema.ts runs it. A body is parsed under the settings of whoever calls it: a backslash stands in `e''` alone.
import type { ColumnType } from './config.ts'
import { escapeMark, jsonWords, textForms, type Word } from './project/short-forms.ts'

/** Statements that create or replace the functions in `schema`. */
export function functionStatements(schema: string): string[] {
  return [
    wholeValue(`${schema}.at_uri_text`, 'at-uri'),
    wholeValue(`${schema}.did_text`, 'did'),
    wholeValue(`${schema}.whole_jsonb`, 'jsonb'),
    cidText(schema),
    cidTexts(schema),
    cidBytes(schema),
    tidTime(schema),
  ]
}

export type ShortType = 'at-uri' | 'did' | 'jsonb'

export function isShort(type: ColumnType): type is ShortType {
  return type === 'at-uri' || type === 'did' || type === 'jsonb'
}

/**
 * The value that `stored`, an expression, stands for. 0.3 µs for an at-uri: `replace` takes 0.1, to cut out parts by `substr` 0.7.
 * 7 µs for 300 characters of JSON: the words one after the other 4, then to jsonb 3.
 */
export function wholeExpression(type: ShortType, stored: string): string {
  if (type === 'jsonb') return `(${withWords(jsonWords, stored)})::jsonb`
  const { prefix, whole, words } = textForms[type]
  return `case when starts_with(${stored}, '${whole.text}') then ${stored}
    when starts_with(${stored}, chr(${escapeMark})) then substr(${stored}, 2)
    else '${prefix.text}' || ${withWords(words, stored)} end`
}

function withWords(words: readonly Word[], stored: string): string {
  return words.reduce((sql, { code, stretch }) => `replace(${sql}, chr(${code}), '${stretch.text}')`, stored)
}

/** Not strict, as Postgres then puts the body in place of a call, and an index on the body is found. */
function wholeValue(name: string, type: ShortType): string {
  return `create or replace function ${name}(stored text) returns ${type === 'jsonb' ? 'jsonb' : 'text'}
language sql immutable parallel safe as $$
  select ${wholeExpression(type, 'stored')}
$$`
}

const base32 = 'abcdefghijklmnopqrstuvwxyz234567'
/** How base64 spells the numbers 0 to 31; `encode` is the fastest speller that Postgres has. */
const base64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef'

/**
 * Of what a column holds: a digest alone is that of a record, and a zero before 32 bytes is not part of the CID.
 * Five bytes at a time become one int8, whose eight 5-bit digits three masked shifts move 6 bits apart, as base64 has them;
 * `encode` then spells them. 4 µs a CID. A single expression of 58 digits, which Postgres would inline, takes 3.5 µs but
 * has to be planned with every query.
 */
function cidText(schema: string): string {
  return `create or replace function ${schema}.cid_text(cid bytea) returns text
language plpgsql immutable strict parallel safe as $$
declare
  whole bytea := case when octet_length(cid) = 32 then e'\\\\x01711220' || cid
    when octet_length(cid) = 33 and get_byte(cid, 0) = 0 then substring(cid from 2) else cid end;
  padded bytea := whole || e'\\\\x00000000';
  digits bytea := '';
  five int8;
begin
  for i in 0 .. (octet_length(whole) - 1) / 5 loop
    five := (get_byte(padded, i * 5)::int8 << 32) + (get_byte(padded, i * 5 + 1)::int8 << 24)
      + (get_byte(padded, i * 5 + 2) << 16) + (get_byte(padded, i * 5 + 3) << 8) + get_byte(padded, i * 5 + 4);
    five := (five & ${upperHalf}) << 4 | (five & ${lowerHalf});
    five := (five & ${upperQuarters}) << 2 | (five & ${lowerQuarters});
    five := (five & ${upperDigits}) << 1 | (five & ${lowerDigits});
    digits := digits || substring(int8send(five) from 3);
  end loop;
  return 'b' || translate(
    left(replace(encode(digits, 'base64'), e'\\n', ''), (octet_length(whole) * 8 + 4) / 5), '${base64}', '${base32}');
end
$$`
}

function cidTexts(schema: string): string {
  return `create or replace function ${schema}.cid_texts(cids bytea[]) returns text[]
language sql immutable strict parallel safe as $$
  select coalesce(array_agg(${schema}.cid_text(cid) order by place), '{}') from unnest(cids) with ordinality as u (cid, place)
$$`
}

const mask = (bits: number, ...shifts: number[]) =>
  shifts.reduce((sum, shift) => sum | (((1n << BigInt(bits)) - 1n) << BigInt(shift)), 0n)
/** Of 40 bits: two halves of 20. */
const upperHalf = mask(20, 20)
const lowerHalf = mask(20, 0)
/** Of 44 bits: halves at 24 and 0, each of two quarters of 10. */
const upperQuarters = mask(10, 34, 10)
const lowerQuarters = mask(10, 24, 0)
/** Of 46 bits: quarters at 36, 24, 12 and 0, each of two digits of 5. */
const upperDigits = mask(5, 41, 29, 17, 5)
const lowerDigits = mask(5, 36, 24, 12, 0)

/**
 * What a column holds for a CID: of a record's the digest, of others all bytes, behind a zero if they are as many as a digest.
 * Immutable, so that a literal is turned into bytes once, when a query is planned, and finds its index.
 */
function cidBytes(schema: string): string {
  return `create or replace function ${schema}.cid_bytes(cid text) returns bytea
language plpgsql immutable strict parallel safe as $$
declare
  bytes bytea := '';
  held int8 := 0;
  bits int := 0;
  digit int;
begin
  if cid !~ '^b[a-z2-7]{7,160}$' then
    raise invalid_parameter_value using message = format('not a CID in base32: %s', left(cid, 200));
  end if;
  for i in 2 .. length(cid) loop
    digit := strpos('${base32}', substr(cid, i, 1)) - 1;
    held := (held << 5 | digit) & 4095;
    bits := bits + 5;
    if bits >= 8 then
      bits := bits - 8;
      bytes := bytes || set_byte(e'\\\\x00', 0, (held >> bits & 255)::int);
    end if;
  end loop;
  return case when octet_length(bytes) = 36 and substring(bytes for 4) = e'\\\\x01711220' then substring(bytes from 5)
    when octet_length(bytes) = 32 then e'\\\\x00' || bytes else bytes end;
end
$$`
}

/**
 * A TID's first 11 digits are its microseconds since 1970. Null for a record key that is no TID. Neither strict nor with a sum of
 * timestamptz, which is not immutable: so Postgres puts the body in place of the call, which takes four times as long.
 */
function tidTime(schema: string): string {
  const digits = Array.from({ length: 11 }, (_, i) => {
    const digit = `(strpos('234567abcdefghijklmnopqrstuvwxyz', substr(rkey, ${i + 1}, 1)) - 1)::int8`
    return `(${digit} << ${50 - 5 * i})`
  })
  return `create or replace function ${schema}.tid_time(rkey text) returns timestamptz
language sql immutable parallel safe as $$
  select case when rkey ~ '^[2-7a-j][2-7a-z]{12}$'
    then (timestamp '1970-01-01' + (${digits.join('\n      + ')}) * interval '1 microsecond') at time zone 'UTC' end
$$`
}
