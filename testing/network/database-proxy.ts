// Stands between the indexer and its database, over TCP, and can be cut: what a fail-over or a network that breaks looks like.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface DatabaseProxy extends AsyncDisposable {
  readonly url: string
  /** Ends all connections and refuses others. */
  cut(): void
  mend(): Promise<void>
}

/** `url` names a Unix socket's folder, as that of an embedded database does. */
export async function startDatabaseProxy(url: string): Promise<DatabaseProxy> {
  const found = /^(postgresql:\/\/[^@]+@)([^:/]+):(\d+)(\/.*)$/.exec(url)
  if (found === null) throw new Error(`no URL of an embedded database: ${url}`)
  const [, user = '', dir = '', port = '', rest = ''] = found
  const path = `${decodeURIComponent(dir)}/.s.PGSQL.${port}`
  const sockets = new Set<Socket>()
  const pass = (client: Socket): void => {
    const server = connect(path)
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(one)
      one.pipe(other)
      one
        .on('error', () => {})
        .on('close', () => {
          sockets.delete(one)
          other.destroy()
        })
    }
  }
  const listen = async (at: number): Promise<Server> => {
    const server = createServer(pass).listen(at, '127.0.0.1')
    await once(server, 'listening')
    return server
  }
  let server = await listen(0)
  const address = server.address()
  const own = typeof address === 'object' ? (address?.port ?? 0) : 0
  const cut = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `${user}127.0.0.1:${own}${rest}`,
    cut,
    mend: async () => {
      server = await listen(own)
    },
    [Symbol.asyncDispose]: async () => cut(),
  }
}
