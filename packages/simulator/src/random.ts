const LETTERS_AND_DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

export function randomSeed(): number {
  return Math.floor(Math.random() * 2 ** 32)
}

/**
 * Random number generator sfc32. Each pair of seed and stream has its own sequence, so an event's
 * content does not depend on other events.
 */
export class Random {
  #a: number
  #b: number
  #c = 0x9e3779b9
  #counter = 1

  constructor(seed: number, stream = 0) {
    this.#a = seed | 0
    this.#b = stream | 0
    for (let i = 0; i < 12; i++) this.next()
  }

  /** Returns a number ≥ 0 and < 1. */
  next(): number {
    return this.#bits() / 2 ** 32
  }

  /** Returns an integer ≥ 0 and < `below`. */
  below(below: number): number {
    return Math.floor(this.next() * below)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }

  digits(length: number): string {
    let text = ''
    while (text.length < length) text += this.below(10)
    return text
  }

  hex(length: number): string {
    let text = ''
    while (text.length < length) text += this.#bits().toString(16).padStart(8, '0')
    return text.slice(0, length)
  }

  /** Returns 43 letters and digits, like myKaarma's ids of customers, vehicles and orders. */
  opaqueId(): string {
    let text = ''
    while (text.length < 43) text += LETTERS_AND_DIGITS[this.below(62)]
    return text
  }

  uuid(): string {
    const hex = this.hex(32)
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`
  }

  #bits(): number {
    const result = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0
    return result >>> 0
  }
}
