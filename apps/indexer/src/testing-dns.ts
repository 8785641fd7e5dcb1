// A DNS server on loopback for tests. In: texts by name; each is an IPv4 or IPv6 address, or else a TXT record. Out: where to ask it.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIP } from 'node:net'

const typeA = 1
const typeTxt = 16
const typeAaaa = 28
const serverFailure = 2
const nameError = 3

export interface TestDns extends AsyncDisposable {
  servers: string[]
  asked(): number
}

/** A name that is not in `records` does not exist; one that is `silent` gets no answer at all, one that is `failing` SERVFAIL. */
export async function startDns(records: Record<string, string[] | 'silent' | 'failing'>): Promise<TestDns> {
  const socket = createSocket('udp4')
  let asked = 0
  socket.on('message', (query, from) => {
    asked++
    const end = query.indexOf(0, 12)
    const labels: string[] = []
    for (let at = 12; at < end; at += 1 + (query[at] ?? 0)) {
      labels.push(query.toString('latin1', at + 1, at + 1 + (query[at] ?? 0)))
    }
    const question = query.subarray(12, end + 5)
    const type = query.readUInt16BE(end + 1)
    const record = records[labels.join('.')]
    if (record === 'silent') return
    const code = record === undefined ? nameError : record === 'failing' ? serverFailure : 0
    const answers = (record === 'failing' ? [] : (record ?? [])).flatMap((text) => {
      if (typeOf(text) !== type) return []
      const data = dataOf(text)
      return Buffer.concat([Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length]), data])
    })
    const header = Buffer.from([0, 0, 0x81, 0x80 + code, 0, 1, 0, answers.length, 0, 0, 0, 0])
    header.set(query.subarray(0, 2))
    socket.send(Buffer.concat([header, question, ...answers]), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    servers: [`127.0.0.1:${socket.address().port}`],
    asked: () => asked,
    [Symbol.asyncDispose]: async () => {
      await new Promise<void>((resolve) => socket.close(() => resolve()))
    },
  }
}

function typeOf(text: string): number {
  return isIP(text) === 4 ? typeA : isIP(text) === 6 ? typeAaaa : typeTxt
}

/** Of IPv6 addresses, ::1 alone. */
function dataOf(text: string): Buffer {
  if (typeOf(text) === typeA) return Buffer.from(text.split('.').map(Number))
  if (typeOf(text) === typeAaaa) return Buffer.from(`${'00'.repeat(15)}01`, 'hex')
  return Buffer.from(`${String.fromCharCode(text.length)}${text}`, 'latin1')
}
