// Tells, once, that a crawl has grown so large that the PLC directory should not be asked for one DID at a time. In: what pages of
// listings brought. Out: a line in the log. Known accounts do not count: their documents were asked for before.
import type { Options } from './options.ts'

const manyAccounts = 100_000

export function adviseExport(
  { verify, plcExport }: Pick<Options, 'verify' | 'plcExport'>,
  log: { warn(values: object, message: string): void },
): (page: { discovered: number }) => void {
  let discovered = 0
  let isTold = plcExport || verify === 'structure'
  return (page) => {
    discovered += page.discovered
    if (isTold || discovered <= manyAccounts) return
    isTold = true
    log.warn({ discovered }, '--plc-export would spare the PLC directory a question for each of so many accounts')
  }
}
