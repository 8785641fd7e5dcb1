// The DIDs that wait to be asked for, did:plc and did:web apart: repos in, the next one out for whom there is a place. Anybody can make a
// did:web and have its host be silent, so a quarter of the places is all that they get, and few wait here.
import type { Unresolved } from './state-resolution.ts'

/** Past this did:web stay in the database, so that did:plc which were listed behind them get in; some 300 bytes each. */
const maxWebWaiting = 1_000

export class ResolveQueue {
  readonly #places: number
  readonly #webPlaces: number
  /** The next one stands last. */
  #plc: Unresolved[] = []
  #web: Unresolved[] = []
  #plcAsked = 0
  #webAsked = 0

  constructor(places: number) {
    this.#places = places
    this.#webPlaces = Math.max(1, Math.floor(places / 4))
  }

  /** did:plc are what a crawl is made of: silent did:web keep nobody from taking more of them. */
  get wantsMore(): boolean {
    return this.#plc.length === 0
  }

  get hasRoomForWeb(): boolean {
    return this.#web.length < maxWebWaiting
  }

  get isEmpty(): boolean {
    return this.#plc.length + this.#web.length === 0
  }

  add(repos: readonly Unresolved[]): void {
    if (repos.length === 0) return
    const inTurn = repos.toReversed()
    this.#plc = [...inTurn.filter((repo) => !isWeb(repo)), ...this.#plc]
    this.#web = [...inTurn.filter(isWeb), ...this.#web]
  }

  /** Who is taken holds a place until `settled`. `isPlcPaused`: no directory may be asked. */
  take(isPlcPaused: boolean): Unresolved | undefined {
    if (this.#mayAskWeb()) {
      this.#webAsked++
      return this.#web.pop()
    }
    if (isPlcPaused || !this.#mayAskPlc()) return undefined
    this.#plcAsked++
    return this.#plc.pop()
  }

  mayTake(isPlcPaused: boolean): boolean {
    return this.#mayAskWeb() || (!isPlcPaused && this.#mayAskPlc())
  }

  settled(repo: Unresolved): void {
    if (isWeb(repo)) this.#webAsked--
    else this.#plcAsked--
  }

  clear(): void {
    this.#plc = []
    this.#web = []
  }

  #mayAskWeb(): boolean {
    return this.#web.length > 0 && this.#webAsked < this.#webPlaces && this.#hasPlace(this.#webAsked)
  }

  #mayAskPlc(): boolean {
    return this.#plc.length > 0 && this.#hasPlace(this.#plcAsked)
  }

  /** One of each kind is asked whatever the other does. */
  #hasPlace(askedOfKind: number): boolean {
    return askedOfKind === 0 || this.#plcAsked + this.#webAsked < this.#places
  }
}

const isWeb = ({ did }: Unresolved): boolean => did.startsWith('did:web:')
