import { Command } from 'commander'
import { expect, test } from 'vitest'
import { parseAccounts } from './option-values.ts'
import { addOptions, type OptionName } from './options.ts'

function parse(name: OptionName, flag: string, value: string): unknown {
  const command = addOptions(new Command().exitOverride().configureOutput({ writeErr: () => {} }), [name])
  return command.parse([flag, value], { from: 'user' }).getOptionValue(name)
}

test.each([
  ['schema', '--schema', 'pg_mine', /none of Postgres' own/],
  ['schema', '--schema', 'information_schema', /none of Postgres' own/],
  ['schema', '--schema', 'x'.repeat(54), /at most 53/],
  ['schema', '--schema', 'a"b', /lower-case letters/],
  ['threads', '--threads', '1000', /from 1 to 64/],
  ['threads', '--threads', '1.5', /from 1 to 64/],
  ['contact', '--contact', 'me@example.com\r\nX-Other: header', /without line ends/],
  ['memory', '--memory', '5x', /64KiB/],
  ['deadAfter', '--dead-after', '1', /at least 2/],
  ['relay', '--relay', 'ftp://relay.example', /http\(s\) URL/],
] as const)('%s: %s %j is refused with what is expected', (name, flag, value, expected) => {
  expect(() => parse(name, flag, value)).toThrow(expected)
})

test.each([
  ['schema', '--schema', 'x'.repeat(53), 'x'.repeat(53)],
  ['threads', '--threads', '64', 64],
  ['contact', '--contact', '', ''],
  ['contact', '--contact', 'mailto:me@example.com', 'mailto:me@example.com'],
  ['memory', '--memory', '1.5g', 1.5 * 1024 ** 3],
] as const)('%s: %s %j is taken', (name, flag, value, expected) => {
  expect(parse(name, flag, value)).toBe(expected)
})

test('a number of accounts that is none is refused as it was written', () => {
  expect(() => parseAccounts('x')).toThrow('"x" is not a whole number from 10 to 1000000')
  expect(() => parseAccounts('9')).toThrow('from 10')
  expect(parseAccounts('10')).toBe(10)
})
