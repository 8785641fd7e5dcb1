// Who wants to hear of an abort: a signal and a function in, called with its reason. The signal itself gets one listener for all, because
// one for each would walk through those of all others when it comes and when it goes, and a run's signal is everybody's.

export type OnAbort = (reason: unknown) => void

interface Listeners {
  readonly all: Set<OnAbort>
  readonly tell: () => void
}

const listenersOf = new WeakMap<AbortSignal, Listeners>()

/** Until `ignoreAbort`. Of a signal that is aborted already nothing is heard. */
export function hearAbort(signal: AbortSignal, onAbort: OnAbort): void {
  const known = listenersOf.get(signal)
  if (known !== undefined) {
    known.all.add(onAbort)
    return
  }
  const all = new Set([onAbort])
  const tell = () => {
    for (const one of all) one(signal.reason)
  }
  listenersOf.set(signal, { all, tell })
  signal.addEventListener('abort', tell)
}

export function ignoreAbort(signal: AbortSignal, onAbort: OnAbort): void {
  const listeners = listenersOf.get(signal)
  if (listeners === undefined || !listeners.all.delete(onAbort) || listeners.all.size > 0) return
  listenersOf.delete(signal)
  signal.removeEventListener('abort', listeners.tell)
}
