// Where the progress line is drawn: on a terminal one line that is rewritten each second, elsewhere a new line every ten, however
// often it is given. Input: text; output: stderr. The surprise: log lines pass through here, so that they never tear the line.

const terminalMs = 1000
const plainMs = 10_000
/** Of `intervalMs`: what comes sooner waits for the next, or for the end. */
const soonest = { terminal: 0.1, plain: 0.9 }

export class ProgressLine {
  readonly intervalMs: number
  readonly #output: NodeJS.WriteStream
  readonly #soonestMs: number
  #shown = ''
  /** Not drawn yet. */
  #waiting: string | undefined
  #drawnAtMs = Number.NEGATIVE_INFINITY

  constructor(output: NodeJS.WriteStream = process.stderr) {
    this.#output = output
    this.intervalMs = output.isTTY ? terminalMs : plainMs
    this.#soonestMs = this.intervalMs * (output.isTTY ? soonest.terminal : soonest.plain)
  }

  draw(text: string): void {
    const nowMs = performance.now()
    if (nowMs - this.#drawnAtMs < this.#soonestMs) {
      this.#waiting = text
      return
    }
    this.#drawnAtMs = nowMs
    this.#write(text)
  }

  #write(text: string): void {
    this.#waiting = undefined
    if (!this.#output.isTTY) {
      this.#output.write(`${text}\n`)
      return
    }
    this.#shown = text.slice(0, Math.max(20, this.#output.columns - 1))
    this.#output.write(`\r\u001b[2K${this.#shown}`)
  }

  /** Writes whole lines above the progress line. */
  above(lines: string): void {
    if (this.#shown === '') this.#output.write(lines)
    else this.#output.write(`\r\u001b[2K${lines}${this.#shown}`)
  }

  /** Leaves the last state on the screen and the cursor on a fresh line. */
  end(): void {
    if (this.#waiting !== undefined) this.#write(this.#waiting)
    if (this.#shown !== '') this.#output.write('\n')
    this.#shown = ''
  }
}
