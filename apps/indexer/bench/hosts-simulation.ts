// Runs the production scheduler against hosts on a virtual clock: no sockets, no timers, a day in seconds.
// In: a population. Out: when each host was done, how long it was left idle, and how often it was asked too much.
import { IndexerError } from '../src/errors.ts'
import { createHosts, type Hosts } from '../src/hosts.ts'
import type { HostLimits } from '../src/hosts-limits.ts'
import type { RateLimit } from '../src/rate-limit.ts'
import { FreeTime, IdleMeter } from './hosts-idle.ts'
import { type BenchHost, type Population, randomFrom } from './hosts-population.ts'
import { EventQueue, type Fate, HostTruth } from './hosts-truth.ts'

export interface SimulationResult {
  virtualMs: number
  /** What no scheduler can beat: the slowest host by itself, or all slots busy from first to last. */
  theoryMs: number
  requests: number
  maxInFlight: number
  /** Of what all hosts together would have allowed. */
  idleShare: number
  hosts: HostResult[]
}

export interface HostResult {
  repos: number
  requests: number
  doneMs: number
  /** Its requests at the allowed rates, and the time in which it was dead. */
  theoryMs: number
  idleShare: number
  refused: number
  overLimit: number
}

interface SimulatedHost {
  readonly origin: string
  readonly plan: BenchHost
  readonly truth: HostTruth
  readonly idle: IdleMeter
  /** Due and not in flight. */
  waiting: number
  /** Not done: due, in flight, or waiting to be tried again. */
  left: number
  doneMs: number
  slotMs: number
}

type Event =
  | { kind: 'arrive' | 'due' | 'turn'; atMs: number; host: SimulatedHost; sentMs: number }
  | {
      kind: 'answer'
      atMs: number
      host: SimulatedHost
      sentMs: number
      fate: Fate
      rateLimit: RateLimit
      resetAtMs: number | undefined
    }

export interface SimulationOptions {
  seed: number
  limits?: Partial<HostLimits>
  /** Called when half of the repos are done: the moment to measure memory. */
  onHalf?: () => void
}

export function simulateHosts(population: Population, options: SimulationOptions): SimulationResult {
  return new Simulation(population, options).run()
}

class Simulation {
  private nowMs = 0
  private inFlight = 0
  private maxInFlight = 0
  private left = 0
  private halfDone = false
  private readonly events = new EventQueue<Event>()
  private readonly free = new FreeTime()
  private readonly hosts: SimulatedHost[]
  private readonly byOrigin: Map<string, SimulatedHost>
  private readonly scheduler: Hosts
  private readonly population: Population
  private readonly random: () => number
  private readonly onHalf: (() => void) | undefined

  constructor(population: Population, { seed, limits, onHalf }: SimulationOptions) {
    this.population = population
    this.onHalf = onHalf
    this.random = randomFrom(seed)
    const { failureShare, maxInFlight } = population
    this.scheduler = createHosts({ now: () => this.nowMs, maxInFlight, limits })
    this.hosts = population.hosts.map((plan, index) => ({
      origin: `https://pds${index}.example`,
      plan,
      truth: new HostTruth(plan, { failureShare, seed: seed * 1000 + index }),
      idle: new IdleMeter(this.free),
      waiting: plan.repos,
      left: plan.repos,
      doneMs: 0,
      slotMs: 0,
    }))
    this.byOrigin = new Map(this.hosts.map((host) => [host.origin, host]))
  }

  run(): SimulationResult {
    this.free.set(true, 0)
    for (const host of this.hosts) {
      this.left += host.left
      this.scheduler.setWork(host.origin, host.waiting)
      this.reopen(host)
      this.expectTurningPoint(host)
    }
    const half = this.left >> 1
    while (this.left > 0) {
      if (this.left === half && !this.halfDone) {
        this.halfDone = true
        this.onHalf?.()
      }
      const next = this.scheduler.next()
      if ('origin' in next) this.send(next.origin)
      else this.pass(next.waitMs)
    }
    return this.result()
  }

  private send(origin: string): void {
    const host = this.byOrigin.get(origin)
    if (!host || host.waiting === 0) throw new Error(`a turn for ${origin}, which has no work`)
    host.waiting--
    this.scheduler.setWork(origin, host.waiting)
    if (host.truth.alive(this.nowMs)) host.idle.ask(this.nowMs)
    if (host.waiting === 0) this.reopen(host)
    this.inFlight++
    this.maxInFlight = Math.max(this.maxInFlight, this.inFlight)
    if (this.inFlight === this.population.maxInFlight) this.free.set(false, this.nowMs)
    const atMs = this.nowMs + host.plan.distanceMs * (0.5 + this.random())
    this.events.add({ kind: 'arrive', atMs, host, sentMs: this.nowMs })
  }

  /** To the next event, or to where the scheduler wants to be asked again. */
  private pass(waitMs: number | undefined): void {
    const eventMs = this.events.nextAtMs ?? Number.POSITIVE_INFINITY
    const wakeMs = waitMs === undefined ? Number.POSITIVE_INFINITY : this.nowMs + waitMs
    if (Math.min(eventMs, wakeMs) === Number.POSITIVE_INFINITY) throw new Error('everything waits for ever')
    if (wakeMs < eventMs) {
      this.nowMs = wakeMs
      return
    }
    this.nowMs = eventMs
    const event = this.events.take()
    if (event?.kind === 'arrive') this.arrive(event.host, event.sentMs)
    else if (event?.kind === 'answer') this.answer(event)
    else if (event?.kind === 'due') this.becomeDue(event.host)
    else if (event) {
      this.reopen(event.host)
      this.expectTurningPoint(event.host)
    }
  }

  private arrive(host: SimulatedHost, sentMs: number): void {
    const { fate, rateLimit, resetAtMs } = host.truth.arrive(this.nowMs)
    const serviceMs = host.plan.latencyMs * (0.5 + this.random())
    const answered = fate === 'served' || fate === 'failed'
    const takesMs = fate === 'silent' ? this.population.timeoutMs : answered ? serviceMs : 0
    const atMs = this.nowMs + takesMs + host.plan.distanceMs
    this.events.add({ kind: 'answer', atMs, host, sentMs, fate, rateLimit, resetAtMs })
  }

  private answer({ host, sentMs, fate, rateLimit: said, resetAtMs }: Event & { kind: 'answer' }): void {
    const { origin } = host
    if (this.inFlight === this.population.maxInFlight) this.free.set(true, this.nowMs)
    this.inFlight--
    host.slotMs += this.nowMs - sentMs
    if (fate !== 'silent' && fate !== 'unreachable') {
      // Epoch and `date` header: relative to when it was sent.
      const rateLimit = resetAtMs === undefined ? said : { ...said, resetMs: Math.max(resetAtMs - this.nowMs, 0) }
      const status = fate === 'served' ? 200 : fate === 'refused' ? 429 : 500
      this.scheduler.seen({ origin, kind: 'repo', status, rateLimit, requestedAtMs: sentMs })
    }
    const code = fate === 'refused' ? 'RateLimited' : fate === 'failed' ? 'HostError' : 'ConnectFailed'
    this.scheduler.finished(origin, fate === 'served' ? 'ok' : { error: new IndexerError(code, fate) })
    if (fate === 'served') {
      host.left--
      this.left--
      if (host.left === 0) host.doneMs = this.nowMs
    } else {
      const atMs = this.nowMs + (fate === 'failed' ? this.population.retryMs : 0)
      this.events.add({ kind: 'due', atMs, host, sentMs: 0 })
    }
  }

  private becomeDue(host: SimulatedHost): void {
    host.waiting++
    this.scheduler.setWork(host.origin, host.waiting)
    if (host.waiting === 1) this.reopen(host)
  }

  private reopen(host: SimulatedHost): void {
    host.truth.advance(this.nowMs)
    const open = host.waiting > 0 && host.truth.alive(this.nowMs)
    host.idle.open(open ? { limit: host.truth.limit, windowMs: host.plan.windowMs } : undefined, this.nowMs)
  }

  private expectTurningPoint(host: SimulatedHost): void {
    const atMs = host.truth.nextTurningPoint(this.nowMs)
    if (atMs !== Number.POSITIVE_INFINITY) this.events.add({ kind: 'turn', atMs, host, sentMs: 0 })
  }

  private result(): SimulationResult {
    let granted = 0
    let idled = 0
    let slotMs = 0
    const hosts = this.hosts.map((host): HostResult => {
      const { plan, truth, idle, doneMs } = host
      const idledHere = idle.idled(this.nowMs)
      granted += idle.granted
      idled += idledHere
      slotMs += host.slotMs
      return {
        repos: plan.repos,
        requests: truth.requests,
        doneMs,
        theoryMs: theoryOf(host),
        idleShare: idle.granted === 0 ? 0 : idledHere / idle.granted,
        refused: truth.refused,
        overLimit: truth.overLimit,
      }
    })
    const slots = slotMs / this.population.maxInFlight
    return {
      virtualMs: this.nowMs,
      theoryMs: Math.max(slots, ...hosts.map(({ theoryMs }) => theoryMs)),
      requests: hosts.reduce((sum, { requests }) => sum + requests, 0),
      maxInFlight: this.maxInFlight,
      idleShare: idled / granted,
      hosts,
    }
  }
}

/** As if the host were alone, from time 0: requests at its rates as they changed, while it was alive. */
function theoryOf({ plan, truth }: SimulatedHost): number {
  const times = [...plan.changes.map(({ atMs }) => atMs), ...plan.deaths.flatMap(({ fromMs, toMs }) => [fromMs, toMs])]
  let left = truth.requests - 1 // the first one takes no time
  let fromMs = 0
  for (const toMs of [...times.sort((a, b) => a - b), Number.POSITIVE_INFINITY]) {
    const limit = plan.changes.findLast(({ atMs }) => atMs <= fromMs)?.limit ?? plan.limit
    const dead = plan.deaths.some((death) => death.fromMs <= fromMs && fromMs < death.toMs)
    const needMs = dead ? Number.POSITIVE_INFINITY : (left * plan.windowMs) / limit
    if (fromMs + needMs <= toMs) return fromMs + needMs
    if (!dead) left -= ((toMs - fromMs) * limit) / plan.windowMs
    fromMs = toMs
  }
  return fromMs
}
