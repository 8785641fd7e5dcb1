// Reads a short body as text: an answer in, all of its body or its first `maxBytes` out. A document or a page mostly is one chunk,
// which is not copied.
import type { HttpAnswer } from './http.ts'

export async function readText({ body }: HttpAnswer, maxBytes = Number.POSITIVE_INFINITY): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > maxBytes) break
    chunks.push(chunk)
  }
  const [first] = chunks
  const whole = first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks)
  return Buffer.from(whole.buffer, whole.byteOffset, whole.length).toString('utf8')
}
