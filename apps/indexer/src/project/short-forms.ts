// What repeats in nearly every record, and the shorter form in which rows hold it: at-uri and did text, words of JSON. Data
// alone: short-text.ts and short-json.ts write the short forms, schema-functions.ts makes the SQL that views read them with.
// The surprise: this is the format of what is stored. Words may be added; one that is here stays what it is.

import { Stretch } from './stretch.ts'

export interface TextForm {
  /** Left out where a value begins with it. */
  readonly prefix: Stretch
  /** What begins like this is stored whole. Nothing that a prefix was taken from does. */
  readonly whole: Stretch
  /** By the character that each is written as where it follows the 24 characters of a did:plc. */
  readonly words: readonly Word[]
}

export interface Word {
  readonly code: number
  readonly stretch: Stretch
}

const word = (code: number, text: string): Word => ({ code, stretch: new Stretch(text) })

/** Stands before a value that is neither: a column takes any text. */
export const escapeMark = 0x3d // '='
/** Short text has no ASCII character up to this one but for codes: no DID and no record key does. */
export const lastCode = 0x23
export const plcSuffixBytes = 24

/** `did:plc:` + 24 is 24 bytes, `at://did:plc:` + 24 + `/app.bsky.feed.post/` + TID is 38 in place of 70. */
export const textForms: Readonly<Record<'did' | 'at-uri', TextForm>> = {
  did: { prefix: new Stretch('did:plc:'), whole: new Stretch('did:'), words: [] },
  'at-uri': {
    prefix: new Stretch('at://did:plc:'),
    whole: new Stretch('at://'),
    words: [
      word(0x21, '/app.bsky.feed.post/'),
      word(0x22, '/app.bsky.feed.repost/'),
      word(0x23, '/app.bsky.graph.list/'),
    ],
  },
}

/**
 * Stretches of JSON by the control character that each is written as: JSON text has none of its own. Keys come in the order of
 * DAG-CBOR, shorter ones first, so that what lexicons nest makes long stretches; other orders are stored as they are. Each
 * starts with what stands before a key, and of those that start alike the longer is first.
 */
export const jsonWords: readonly Word[] = [
  word(0x01, '{"$type":"app.bsky.embed.images","images":[{"alt":"'),
  word(0x02, '{"$type":"app.bsky.embed.external","external":{"uri":"https://'),
  word(0x03, '{"$type":"app.bsky.embed.record","record":{"cid":"bafyrei'),
  word(0x04, '{"$type":"app.bsky.embed.'),
  word(0x05, '{"ref":{"$link":"bafkrei'),
  word(0x06, '{"index":{"byteEnd":'),
  word(0x07, '{"alt":"'),
  word(0x0e, ',"$type":"blob","mimeType":"image/jpeg"}'),
  word(0x0f, ',"$type":"blob","mimeType":"'),
  word(0x10, ',"$type":"app.bsky.richtext.facet#'),
  word(0x11, ',"aspectRatio":{"width":'),
  word(0x12, ',"byteStart":'),
  word(0x13, ',"height":'),
  word(0x14, ',"features":[{"'),
  word(0x15, ',"size":'),
  word(0x16, ',"image":'),
]
