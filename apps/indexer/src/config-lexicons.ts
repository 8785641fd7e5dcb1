// Derives typed collections from lexicon documents: those that @atproto/api carries, by pattern, or the user's own files.
import type { CollectionsInput } from './config.ts'
import { refuse } from './config-check.ts'

export async function collectionsFromLexicons(_lexicons: readonly string[], path: string): Promise<CollectionsInput> {
  return refuse(path, 'lexicons are not read yet')
}
