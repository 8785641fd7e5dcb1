// Where the progress line is drawn: on a terminal one line that is rewritten each second, elsewhere a new line every ten.
// Input: text; output: stderr. The surprise: log lines pass through here, so that they never tear the line.

const terminalMs = 1000
const plainMs = 10_000

export class ProgressLine {
  readonly intervalMs: number
  readonly #output: NodeJS.WriteStream
  #shown = ''

  constructor(output: NodeJS.WriteStream = process.stderr) {
    this.#output = output
    this.intervalMs = output.isTTY ? terminalMs : plainMs
  }

  draw(text: string): void {
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
    if (this.#shown !== '') this.#output.write('\n')
    this.#shown = ''
  }
}
