// TIDs: 13 characters that hold a time and sort by it. Revs and most record keys are TIDs.
// Source: https://atproto.com/specs/tid

const alphabet = '234567abcdefghijklmnopqrstuvwxyz'
const pattern = /^[234567a-j][234567a-z]{12}$/
const letters = new Uint8Array(13)
const decoder = new TextDecoder()

/** Microseconds since 1970 of a TID (its 10-bit clock id is dropped), or undefined when the text is not one. */
export function microsFromTid(tid: string): number | undefined {
  if (!pattern.test(tid)) return undefined
  let high = 0
  for (let i = 0; i < 7; i++) high = high * 32 + alphabet.indexOf(tid.charAt(i))
  let low = 0
  for (let i = 7; i < 13; i++) low = low * 32 + alphabet.indexOf(tid.charAt(i))
  return high * 2 ** 20 + Math.floor(low / 1024)
}

/** The TID of `micros` since 1970 (at most 2^53 - 1) and a clock id of 0 to 1023. */
export function tidFromMicros(micros: number, clockId: number): string {
  let high = Math.floor(micros / 2 ** 20)
  let low = (micros % 2 ** 20) * 1024 + clockId
  for (let i = 12; i > 6; i--) {
    letters[i] = alphabet.charCodeAt(low & 31)
    low >>>= 5
  }
  for (let i = 6; i >= 0; i--) {
    letters[i] = alphabet.charCodeAt(high % 32)
    high = Math.floor(high / 32)
  }
  return decoder.decode(letters)
}
