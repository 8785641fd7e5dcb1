import { defineConfig } from 'vitest/config'
import { LongFirst } from './scripts/long-first.ts'

export default defineConfig({
  resolve: { conditions: ['workspace-source'] },
  ssr: { resolve: { conditions: ['workspace-source'], externalConditions: ['workspace-source'] } },
  test: {
    include: ['{packages,apps,testing}/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    reporters: ['default'],
    pool: 'forks',
    // The second is the launcher's (`indexer` says why): here the threads are those of a test's process.
    execArgv: ['--conditions=workspace-source', '--wasm-wrapper-tiering-budget=1000000000'],
    maxWorkers: 2,
    sequence: { sequencer: LongFirst },
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // Real servers are killed at random times: on a loaded machine one may miss a deadline. A second try is named in the summary;
    // `scripts/run-tests.ts` gives one to whole files.
    retry: process.env.CI ? 1 : 0,
  },
})
