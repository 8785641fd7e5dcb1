import { Command } from 'commander'
import { expect, test } from 'vitest'
import { addOptions } from './options.ts'
import { parseSource } from './source-spec.ts'

test.each([
  ['relay', { kind: 'relay' }],
  ['hosts', { kind: 'hosts' }],
  ['host=https://pds.example.com/path', { kind: 'host', origin: 'https://pds.example.com' }],
  ['host=https://PDS.example.com.:443', { kind: 'host', origin: 'https://pds.example.com' }],
  ['collection=app.bsky.feed.post', { kind: 'collection', nsid: 'app.bsky.feed.post' }],
  ['file=/tmp/a=b.txt', { kind: 'file', path: '/tmp/a=b.txt' }],
])('%s is a source', (text, spec) => {
  expect(parseSource(text)).toEqual(spec)
})

test.each([
  '',
  'relay=x',
  'hosts=',
  'host=',
  'host=pds.example.com',
  'collection=post',
  'collection=a.b.*',
  'file=',
  'fire=x',
])('"%s" is refused with what was expected', (text) => {
  expect(() => parseSource(text)).toThrow(/host=|collection=|file=/)
})

test('sources are comma-separated, repeated, or both; any of them replaces the default', () => {
  const parse = (args: string[], env: string | undefined = undefined): unknown => {
    if (env === undefined) delete process.env.INDEXER_SOURCE
    else process.env.INDEXER_SOURCE = env
    const command = addOptions(new Command().exitOverride().configureOutput({ writeErr: () => {} }), ['source'])
    return command.parse(args, { from: 'user' }).opts().source
  }
  expect(parse([])).toEqual(['relay'])
  expect(parse(['--source', 'hosts,relay', '--source', 'file=x'])).toEqual(['hosts', 'relay', 'file=x'])
  expect(parse([], 'hosts,file=x')).toEqual(['hosts', 'file=x'])
  expect(parse(['--source', 'relay'], 'hosts')).toEqual(['relay'])
  expect(() => parse(['--source', 'relays'])).toThrow(/none of relay, hosts/)
  expect(parse([])).toEqual(['relay'])
})
