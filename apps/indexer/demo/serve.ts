// The demo network as a process of its own: flags in, one line of JSON with the URLs out. It ends on SIGTERM, SIGINT,
// after --max-seconds, and, with --until-stdin-closes, when whoever started it has gone.
import { parseArgs } from 'node:util'
import { startDemoNetwork } from './network.ts'

const { values } = parseArgs({
  options: {
    accounts: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    pds: { type: 'string', default: '3' },
    port: { type: 'string', default: '0' },
    big: { type: 'string', default: '2x6000' },
    'median-records': { type: 'string', default: '20' },
    spread: { type: 'string', default: '1.5' },
    'no-gzip': { type: 'boolean', default: false },
    'max-seconds': { type: 'string', default: '3600' },
    'until-stdin-closes': { type: 'boolean', default: false },
  },
})

const [count = 0, records = 0] = values.big.split('x').map(Number)
const network = await startDemoNetwork({
  seed: Number(values.seed),
  accounts: Number(values.accounts),
  pdsCount: Number(values.pds),
  port: Number(values.port),
  medianRecords: Number(values['median-records']),
  spread: Number(values.spread),
  bigRepos: { count, records },
  gzip: !values['no-gzip'],
})
const { relayUrl, plcUrl, pdsUrls, accounts } = network
process.stdout.write(`${JSON.stringify({ relayUrl, plcUrl, pdsUrls, accounts: accounts.length, pid: process.pid })}\n`)

const stop = () => {
  network.close().finally(() => process.exit(0))
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
setTimeout(stop, Number(values['max-seconds']) * 1000).unref()
if (values['until-stdin-closes']) process.stdin.once('close', stop).resume()
