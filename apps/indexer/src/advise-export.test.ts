import { expect, test } from 'vitest'
import { adviseExport } from './advise-export.ts'

function toldAt(options: Parameters<typeof adviseExport>[0], pages: number): number[] {
  const told: number[] = []
  let page = 0
  const advise = adviseExport(options, { warn: () => void told.push(page) })
  for (page = 1; page <= pages; page++) advise({ discovered: 1000 })
  return told
}

test('a crawl of more than 100,000 new accounts in full verification recommends --plc-export, once', () => {
  expect(toldAt({ verify: 'full', plcExport: false }, 300)).toEqual([101])
  expect(toldAt({ verify: 'full', plcExport: false }, 100)).toEqual([])
})

test('one that has it, or that needs no documents, does not', () => {
  expect(toldAt({ verify: 'full', plcExport: true }, 300)).toEqual([])
  expect(toldAt({ verify: 'structure', plcExport: false }, 300)).toEqual([])
})
