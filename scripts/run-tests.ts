// Runs the tests as `vitest run` does (same arguments), and ends with one line any tool can read: `N passed, N failed[, N skipped]`.
// Real servers are killed in them at random times, and Node itself has crashed: what a busy machine or a crash did to a file as a whole
// (its set-up failed, it did not load, its process died, an error nobody caught) gets a second try in CI, as vitest's `retry` gives one to
// a test. Whatever needed it is named. Files of which only tests failed have had theirs.
import { relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createVitest, parseCLI, type TestModule, type TestRunResult } from 'vitest/node'

/** More broken files than these are no accident. */
const maxSecondTries = 5
const maxCloseMs = 20_000

const { filter, options } = parseCLI(['vitest', 'run', '--no-watch', ...process.argv.slice(2)])
process.env.NODE_ENV ??= 'test'
const vitest = await createVitest(options)

let run = judge(await vitest.start(filter))
const secondTries: TestModule[] = []
if (process.env.CI && run.stray === 0 && run.broken.length > 0 && run.broken.length <= maxSecondTries) {
  secondTries.push(...run.broken)
  process.stdout.write(`\na second try: ${secondTries.map(nameOf).join(', ')}\n`)
  const specifications = secondTries.map(({ project, moduleId }) => project.createSpecification(moduleId))
  const second = await vitest.runTestSpecifications(specifications)
  run = judge({ ...second, testModules: vitest.state.getTestModules() })
}
await Promise.race([vitest.close(), sleep(maxCloseMs)])

const { passed, skipped, flaky } = run
const failed = run.failed + run.broken.length + run.stray
const stillBroken = new Set(run.broken.map(nameOf))
const mended = secondTries.map(nameOf).filter((name) => !stillBroken.has(name))
for (const name of [...flaky, ...mended]) process.stdout.write(`passed at the second try: ${name}\n`)
process.stdout.write(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`)
process.exit(failed > 0 ? 1 : 0)

interface Judged {
  passed: number
  failed: number
  skipped: number
  /** Tests whose first try failed. */
  flaky: string[]
  /** Files that had no chance to show all of their tests; each is one failure beside those of its tests. */
  broken: TestModule[]
  /** Errors that belong to no file. */
  stray: number
}

function judge({ testModules, unhandledErrors }: TestRunResult): Judged {
  const judged: Judged = { passed: 0, failed: 0, skipped: 0, flaky: [], broken: [], stray: 0 }
  const texts = unhandledErrors.map(textOf)
  for (const module of testModules) {
    if (isBroken(module) || texts.some((text) => text.includes(module.moduleId))) judged.broken.push(module)
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      if (state !== 'pending') judged[state]++ // a test that never ran is counted with its file
      if (test.diagnostic()?.flaky) judged.flaky.push(test.fullName)
    }
  }
  judged.stray = texts.filter((text) => !judged.broken.some(({ moduleId }) => text.includes(moduleId))).length
  return judged
}

function isBroken(module: TestModule): boolean {
  if (module.errors().length > 0 || module.state() === 'pending' || module.state() === 'queued') return true
  return [...module.children.allSuites()].some((suite) => suite.errors().length > 0)
}

/** All that an error says about where it comes from: vitest puts the file into its message, its cause or a field of its own. */
function textOf(error: unknown): string {
  if (!(typeof error === 'object' && error !== null)) return String(error)
  const { message, stack, cause, VITEST_TEST_PATH } = error as Record<string, unknown>
  return [message, stack, VITEST_TEST_PATH, cause === undefined ? '' : textOf(cause)].join('\n')
}

function nameOf({ moduleId }: TestModule): string {
  return relative(process.cwd(), moduleId)
}
