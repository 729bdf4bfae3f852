/** How many connections may be open at once, in all and to one host. Whoever waited longest, and has a place, is next. */
export class ConnectionSlots {
  readonly #total: number;
  readonly #perHost: number;
  readonly #open = new Map<string, number>();
  #all = 0;
  readonly #waiting: { readonly host: string; readonly go: () => void }[] = [];

  constructor(total: number, perHost: number) {
    this.#total = total;
    this.#perHost = perHost;
  }

  /** Waits for a place. @returns gives it back; calls after the first do nothing. */
  async take(host: string): Promise<() => void> {
    if (!this.#hasRoom(host)) await new Promise<void>((go) => this.#waiting.push({ host, go }));
    else this.#count(host, 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#count(host, -1);
      this.#next();
    };
  }

  #hasRoom(host: string): boolean {
    return this.#all < this.#total && (this.#open.get(host) ?? 0) < this.#perHost;
  }

  #count(host: string, step: 1 | -1): void {
    this.#all += step;
    const open = (this.#open.get(host) ?? 0) + step;
    if (open > 0) this.#open.set(host, open);
    else this.#open.delete(host);
  }

  #next(): void {
    const at = this.#waiting.findIndex(({ host }) => this.#hasRoom(host));
    const [next] = at < 0 ? [] : this.#waiting.splice(at, 1);
    if (!next) return;
    this.#count(next.host, 1);
    next.go();
  }
}
