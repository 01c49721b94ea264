/**
 * Member of a {@link LinkedSet}. A member may be in only one set at a time. Only the set writes
 * these fields.
 */
export interface Linked<T> {
  previous?: T | undefined
  next?: T | undefined
}

/**
 * Set of objects in the order of insertion. The ingress adds a member for each event, and soon
 * deletes this member.
 *
 * A `Set` would keep removed members in memory. V8 replaces the table of a `Set` after some
 * insertions, and when the `Set` becomes empty. The old table refers to the new table. If a table
 * survives two minor garbage collections, V8 moves it to the old generation. This table then keeps
 * all later tables and their members in memory until the next major garbage collection. A removed
 * member of a `LinkedSet` refers to no other member.
 */
export class LinkedSet<T extends Linked<T>> implements Iterable<T> {
  size = 0
  #first: T | undefined
  #last: T | undefined

  /** The oldest member. */
  get first(): T | undefined {
    return this.#first
  }

  has(member: T): boolean {
    return member.previous !== undefined || this.#first === member
  }

  /** Adds a member at the end. The member must not be in a set. */
  add(member: T): void {
    member.previous = this.#last
    if (this.#last) this.#last.next = member
    else this.#first = member
    this.#last = member
    this.size += 1
  }

  /** @returns true if the member was in the set. */
  delete(member: T): boolean {
    if (!this.has(member)) return false
    const { previous, next } = member
    if (previous) previous.next = next
    else this.#first = next
    if (next) next.previous = previous
    else this.#last = previous
    member.previous = undefined
    member.next = undefined
    this.size -= 1
    return true
  }

  /** Returns the members, oldest first. During a loop, the caller may delete the current member. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let member = this.#first; member; ) {
      const { next } = member
      yield member
      member = next
    }
  }
}
