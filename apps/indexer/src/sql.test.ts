import { expect, test } from 'vitest'
import { renderTable } from './sql.ts'

test('a table is aligned, with numbers to the right and nulls shown', () => {
  expect(
    renderTable(
      ['name', 'n'],
      [
        ['a', '1'],
        ['long name', '12,345'],
        [null, null],
      ],
    ),
  ).toBe(
    [
      'name            n',
      '---------  ------',
      'a               1',
      'long name  12,345',
      '∅               ∅',
      '(3 rows)',
      '',
    ].join('\n'),
  )
})

test('control characters and line ends cannot break the table', () => {
  expect(renderTable(['text'], [['a\nb\u001b[31m']])).toBe('text\n--------\na⏎b·[31m\n(1 row)\n')
})
