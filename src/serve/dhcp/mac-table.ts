/**
 * What is remembered of machines, bounded. A MAC costs nothing to forge: machines that the operator knows and all
 * others have a table each, so that strangers only ever push out strangers.
 */
export class MacTable<V> {
  readonly #known = new Map<string, V>();
  readonly #strangers = new Map<string, V>();
  readonly #most: number;

  /** @param most entries of each table. */
  constructor(most: number) {
    this.#most = most;
  }

  get(key: string, known: boolean): V | undefined {
    return (known ? this.#known : this.#strangers).get(key);
  }

  /** The oldest gives way where there is no room. */
  set(key: string, known: boolean, value: V): void {
    const table = known ? this.#known : this.#strangers;
    table.delete(key);
    table.set(key, value);
    if (table.size <= this.#most) return;
    const [oldest] = table.keys();
    if (oldest !== undefined) table.delete(oldest);
  }

  get size(): number {
    return this.#known.size + this.#strangers.size;
  }
}
