import { expect, test } from 'vitest'
import { ProgressLine } from './progress-line.ts'

function outputOf(isTTY: boolean): { line: ProgressLine; written: () => string } {
  let written = ''
  const output = { isTTY, columns: 80, write: (text: string) => (written += text) }
  return { line: new ProgressLine(output as unknown as NodeJS.WriteStream), written: () => written }
}

test('a log gets the first line and the last, however many there were within ten seconds', () => {
  const { line, written } = outputOf(false)
  for (let i = 1; i <= 1_000; i++) line.draw(`${i} repos`)
  line.end()
  expect(written()).toBe('1 repos\n1000 repos\n')
})

test('a terminal keeps the last line', () => {
  const { line, written } = outputOf(true)
  for (let i = 1; i <= 1_000; i++) line.draw(`${i} repos`)
  line.end()
  expect(written().split('\r\u001b[2K')).toEqual(['', '1 repos', '1000 repos\n'])
})
