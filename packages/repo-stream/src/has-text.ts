// Recognises a known text in DAG-CBOR without decoding it.

/** Is the text `text` (under 24 ASCII characters) encoded at `at`, wholly before `to`? */
export function hasText(bytes: Uint8Array, at: number, to: number, text: string): boolean {
  if (at + 1 + text.length > to || bytes[at] !== 0x60 + text.length) return false
  for (let i = 0; i < text.length; i++) if (bytes[at + 1 + i] !== text.charCodeAt(i)) return false
  return true
}
