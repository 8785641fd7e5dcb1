// The order of test files: the longest first, so that no worker ends alone with one of them. Elsewhere vitest goes by the durations of
// the last run, and where there was none, as in a fresh clone, by size; a short file may take minutes.
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Those of more than ten seconds, by how long they took on a quiet machine of two cores. */
const longest = [
  'sources',
  'processes',
  'resume',
  'hosts',
  'faults-together',
  'unlisted',
  'sources-real',
  'simulation',
  'reproject',
  'reproject-kills',
  'crawl-real',
  'operator',
]

export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rest = await super.sort(files)
    return rest.sort((a, b) => rank(a) - rank(b))
  }
}

function rank({ moduleId }: TestSpecification): number {
  const index = longest.findIndex((name) => moduleId.endsWith(`/testing/network/${name}.pg.test.ts`))
  return index === -1 ? longest.length : index
}
