/**
 * Member of a {@link LinkedSet}. A member may be in one set at a time. Only the set writes these
 * fields.
 */
export interface Linked<T> {
  previous?: T | undefined
  next?: T | undefined
}

/**
 * Set of objects in the order of insertion, for members that are added and deleted with each event.
 *
 * A `Set` would keep removed members in memory. V8 replaces the table of a `Set` after some
 * insertions, and links the old table to the new table. A table that survives two minor collections
 * of garbage moves to the old generation. It then keeps all later tables and their members in
 * memory until the next major collection. A removed member of a `LinkedSet` refers to no other
 * member.
 */
export class LinkedSet<T extends Linked<T>> implements Iterable<T> {
  size = 0
  #first: T | undefined
  #last: T | undefined

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

  /** Returns the members, oldest first. The caller may delete the member that it gets. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let member = this.#first; member; ) {
      const { next } = member
      yield member
      member = next
    }
  }
}
