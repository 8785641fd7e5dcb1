// A vitest reporter that ends a run with one line any tool can read: `N passed, N failed[, N skipped]`.
// A file that fails to load counts as one failure, and so does a suite whose set-up fails: their tests never had a chance to.
import type { Reporter, TestModule } from 'vitest/node'

export class PlainSummary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    for (const module of modules) {
      if (module.errors().length > 0) count.failed++
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) count.failed++
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed') count.passed++
        else if (state === 'skipped') count.skipped++
        else count.failed++
        if (test.diagnostic()?.flaky) process.stdout.write(`passed at the second try: ${test.fullName}\n`)
      }
    }
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : ''
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed${skipped}\n`)
  }
}
