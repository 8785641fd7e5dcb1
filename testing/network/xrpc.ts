// The few XRPC calls that the tests make on a real PDS, over plain fetch. An answer that is not 200 throws with its body.

export interface XrpcOptions {
  /** A session's access token, or `Basic ...` for the admin. */
  readonly auth?: string
  readonly params?: Readonly<Record<string, string>>
  /** A body makes it a POST. Bytes are sent as they are. */
  readonly body?: unknown
}

export async function xrpc<T>(origin: string, method: string, { auth, params, body }: XrpcOptions = {}): Promise<T> {
  const url = `${origin}/xrpc/${method}?${new URLSearchParams(params)}`
  const bytes = body instanceof Uint8Array
  const response = await fetch(url, {
    ...(body === undefined ? {} : { method: 'POST', body: bytes ? Buffer.from(body) : JSON.stringify(body) }),
    headers: {
      ...(auth === undefined ? {} : { authorization: auth.startsWith('Basic ') ? auth : `Bearer ${auth}` }),
      ...(body === undefined ? {} : { 'content-type': bytes ? 'image/png' : 'application/json' }),
    },
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method}: ${response.status} ${text.slice(0, 500)}`)
  return text === '' ? (undefined as T) : (JSON.parse(text) as T)
}

export const basicAuth = (password: string) => `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`

export interface ListedRecord {
  readonly uri: string
  readonly cid: string
  readonly value: Readonly<Record<string, unknown>>
}

/** Every record of an account, as its PDS says. */
export async function* listAllRecords(origin: string, did: string): AsyncGenerator<ListedRecord> {
  const { collections } = await xrpc<{ collections: string[] }>(origin, 'com.atproto.repo.describeRepo', {
    params: { repo: did },
  })
  for (const collection of collections) {
    let cursor: string | undefined
    do {
      const params = { repo: did, collection, limit: '100', ...(cursor !== undefined && { cursor }) }
      const page = await xrpc<{ records: ListedRecord[]; cursor?: string }>(origin, 'com.atproto.repo.listRecords', {
        params,
      })
      yield* page.records
      cursor = page.records.length === 0 ? undefined : page.cursor
    } while (cursor !== undefined)
  }
}
