// What one `--source` says, as text in and checked out: relay, hosts, host=URL, collection=NSID or file=PATH. Pure.
import { resolve } from 'node:path'
import { readOrigin } from './did-document.ts'

export type SourceSpec =
  | { kind: 'relay' }
  | { kind: 'hosts' }
  | { kind: 'host'; origin: string }
  | { kind: 'collection'; nsid: string }
  | { kind: 'file'; path: string }

/** Throws an Error that says what was expected. */
export function parseSource(text: string): SourceSpec {
  const [kind, value] = splitOnce(text)
  if (kind === 'relay' && value === undefined) return { kind }
  if (kind === 'hosts' && value === undefined) return { kind }
  if (kind === 'host' && value) {
    const origin = readOrigin(value, true)
    if (origin) return { kind, origin }
    throw new Error(`"${text}" needs an http(s) URL, such as host=https://pds.example.com`)
  }
  if (kind === 'collection' && value) {
    if (isNsid(value)) return { kind, nsid: value }
    throw new Error(`"${text}" needs the NSID of a collection, such as collection=app.bsky.feed.post`)
  }
  if (kind === 'file' && value) return { kind, path: resolve(value) }
  throw new Error(`"${text}" is none of relay, hosts, host=URL, collection=NSID, file=PATH`)
}

function splitOnce(text: string): [string, string | undefined] {
  const at = text.indexOf('=')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

/** https://atproto.com/specs/nsid */
function isNsid(text: string): boolean {
  return text.length <= 317 && /^[a-z][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,62})+\.[a-z][a-z0-9]{0,62}$/i.test(text)
}
