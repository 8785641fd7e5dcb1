// A column as its values are written. All have one shape, and the type's name is this program's own text: that of a config from
// another thread is compared character by character, which was 1 % of the thread.
import type { Column } from '../config.ts'
import { columnTypes } from '../config-types.ts'

export type BlobPart = NonNullable<Column['part']>

export interface Field extends Pick<Column, 'type' | 'maxBytes'> {
  /** Among the columns of its table. */
  readonly index: number
  readonly part: BlobPart | undefined
}

export function fieldOf({ type, maxBytes, part }: Column, index: number): Field {
  return { type: columnTypes.find((known) => known === type) ?? type, maxBytes, index, part }
}
