// A binary heap whose items know their place, so that any of them can be moved or taken out in O(log n).
// In: items and what comes before what. Out: the first one. The surprise: an item stands in one such heap at a time.

export interface HeapItem {
  /** Its place in the heap, -1 when it is in none. Kept by the heap. */
  place: number
}

export class Heap<Item extends HeapItem> {
  private readonly items: Item[] = []
  private readonly before: (a: Item, b: Item) => boolean

  constructor(before: (a: Item, b: Item) => boolean) {
    this.before = before
  }

  get size(): number {
    return this.items.length
  }

  first(): Item | undefined {
    return this.items[0]
  }

  add(item: Item): void {
    item.place = this.items.length
    this.items.push(item)
    this.rise(item)
  }

  remove(item: Item): void {
    const { place } = item
    const last = this.items.pop()
    item.place = -1
    if (!last || last === item) return
    last.place = place
    this.items[place] = last
    this.rise(last)
    this.sink(last)
  }

  has(item: Item): boolean {
    return item.place >= 0 && this.items[item.place] === item
  }

  private rise(item: Item): void {
    for (;;) {
      const parent = item.place > 0 ? this.items[(item.place - 1) >> 1] : undefined
      if (!parent || !this.before(item, parent)) return
      this.swap(item, parent)
    }
  }

  private sink(item: Item): void {
    for (;;) {
      const left = this.items[2 * item.place + 1]
      const right = this.items[2 * item.place + 2]
      const child = left && right && this.before(right, left) ? right : left
      if (!child || !this.before(child, item)) return
      this.swap(item, child)
    }
  }

  private swap(a: Item, b: Item): void {
    const place = a.place
    a.place = b.place
    b.place = place
    this.items[a.place] = a
    this.items[b.place] = b
  }
}
