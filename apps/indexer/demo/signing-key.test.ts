import { makeSigningKey } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { demoSigningKey } from './signing-key.ts'

test('keys and signatures are those of the fixtures, byte for byte', () => {
  for (let index = 0; index < 20; index++) {
    const [ours, theirs] = [demoSigningKey(7, index), makeSigningKey(`demo 7:${index}`)]
    const message = Buffer.from(`message ${index}`)
    expect(ours.did).toBe(theirs.did)
    expect(Buffer.from(ours.sign(message)).toString('hex')).toBe(Buffer.from(theirs.sign(message)).toString('hex'))
  }
})
