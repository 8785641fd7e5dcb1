// What is measured: cases (a CAR and how it is read) with the sides that meet on it. Slow peers are left out where a run
// would take minutes: @ipld/car and @atproto/repo at 128 MiB walk PDS order only, and 450 MiB not at all. All of it takes
// eleven minutes on two quiet cores, and as much again to make the CARs and the Rust peer for the first time.
import type { BlockOrder } from '../fixtures/index.ts'
import { orders, type Size } from './cars.ts'

export interface Case {
  part: 'walk' | 'cold' | 'spill' | 'sqlite' | 'decode'
  size: Size
  order: BlockOrder
  sides: readonly string[]
  /** The side that the others are compared with. */
  ours: string
  reps: number
  /** Walks in one measurement, so that it takes milliseconds. */
  times: number
  warmups: number
  /** Every JavaScript side walks this smaller CAR first, so that a large one is not the one that its code is compiled on. */
  warmSize?: Size
  /** A new process for every repetition: nothing is compiled yet. */
  fresh: boolean
}

const own = ['ours', 'ours verified', 'ours verified, processed', 'hashing alone']
const fast = [...own, 'crate memory', 'atcute memory', 'atcute stream']
const fastest = ['ours', 'ours verified', 'crate memory', 'atcute stream']
const all = [...fast, 'ipld car', 'atproto repo']

const walks: Readonly<Record<Size, Pick<Case, 'reps' | 'times' | 'warmups' | 'warmSize'>>> = {
  tiny: { reps: 15, times: 300, warmups: 40 },
  little: { reps: 15, times: 20, warmups: 40 },
  '5MiB': { reps: 9, times: 1, warmups: 10 },
  '128MiB': { reps: 3, times: 1, warmups: 0, warmSize: '5MiB' },
  '450MiB': { reps: 1, times: 1, warmups: 0, warmSize: '5MiB' },
}

export function plan(): Case[] {
  return [...walkCases(), ...coldCases(), ...spillCases(), sqliteCase, ...decodeCases()]
}

function walkCases(): Case[] {
  const cases: Case[] = []
  for (const size of ['tiny', 'little', '5MiB', '128MiB', '450MiB'] as const) {
    const small = size === 'tiny' || size === 'little'
    for (const order of small ? orders.slice(0, 1) : orders) {
      cases.push({ part: 'walk', size, order, sides: sidesOf(size, order), ours: 'ours', fresh: false, ...walks[size] })
    }
  }
  return cases
}

function sidesOf(size: Size, order: BlockOrder): readonly string[] {
  if (size === '450MiB') return order === 'pds' ? fast : fastest
  return size === '128MiB' && order !== 'pds' ? fast : all
}

function coldCases(): Case[] {
  const sides = ['cold ours', 'cold ours verified', 'crate file', 'cold atcute memory', 'cold atcute stream']
  return (['little', '5MiB', '128MiB', '450MiB'] as const).map((size) => {
    const reps = { little: 5, '5MiB': 5, '128MiB': 3, '450MiB': 1 }[size]
    return { part: 'cold', size, order: 'pds', sides, ours: 'cold ours', reps, times: 1, warmups: 0, fresh: true }
  })
}

function spillCases(): Case[] {
  const cases: Case[] = []
  for (const size of ['128MiB', '450MiB'] as const) {
    for (const order of ['pds', 'digest', 'preorder'] as const) {
      const large = size === '450MiB'
      const peers = large ? ['spill crate way'] : ['spill crate way', 'crate disk']
      const sides = ['spill ours', ...(order === 'preorder' ? [] : peers)]
      cases.push({ part: 'spill', size, order, sides, ours: 'spill ours', reps: 1, times: 1, warmups: 0, fresh: true })
    }
  }
  return cases
}

const sqliteCase: Case = {
  part: 'sqlite',
  size: '128MiB',
  order: 'pds',
  sides: ['node:sqlite', 'better-sqlite3'],
  ours: 'node:sqlite',
  reps: 5,
  times: 1,
  warmups: 1,
  fresh: false,
}

function decodeCases(): Case[] {
  const sides = ['decode ours', 'decode atcute']
  const decode: Pick<Case, 'part' | 'order' | 'sides' | 'ours' | 'fresh'> = {
    part: 'decode',
    order: 'pds',
    sides,
    ours: 'decode ours',
    fresh: false,
  }
  return [
    { ...decode, size: 'little', reps: 25, times: 40, warmups: 10 },
    { ...decode, size: '5MiB', reps: 25, times: 1, warmups: 10 },
    { ...decode, size: '128MiB', reps: 7, times: 1, warmups: 1, warmSize: '5MiB' },
  ]
}
