import type { OpenBoot } from './open-boot.ts';

/** Which boots are under way, or were a while ago: by card, and by address. */
export class Whereabouts {
  readonly #byMac = new Map<string, OpenBoot>();
  readonly #byAddress = new Map<string, Set<OpenBoot>>();
  /** Of those, the ones that nobody knows the card of: behind one address may be a thousand machines. */
  readonly #nameless = new Map<string, Set<OpenBoot>>();
  readonly #all = new Set<OpenBoot>();

  get all(): ReadonlySet<OpenBoot> {
    return this.#all;
  }

  /** The last boot of a card. */
  ofMac(mac: string): OpenBoot | undefined {
    return this.#byMac.get(mac);
  }

  ofAddress(address: string): readonly OpenBoot[] {
    return [...(this.#byAddress.get(address) ?? [])];
  }

  /** Those at an address that nobody knows the card of. */
  namelessAt(address: string): Iterable<OpenBoot> {
    return this.#nameless.get(address) ?? [];
  }

  add(boot: OpenBoot): void {
    this.#all.add(boot);
    if (boot.machine !== '') this.#byMac.set(boot.machine, boot);
    for (const address of boot.addresses) this.#come(boot, address);
  }

  /** It is known now whose it is. */
  name(boot: OpenBoot, mac: string): void {
    boot.machine = mac;
    this.#byMac.set(mac, boot);
    for (const address of boot.addresses) leave(this.#nameless, boot, address);
  }

  locate(boot: OpenBoot, address: string): void {
    const [first] = boot.addresses;
    const full = boot.addresses.length;
    if (!boot.addAddress(address)) return;
    this.#come(boot, address);
    if (first !== undefined && boot.addresses.length === full) this.#leave(boot, first);
  }

  remove(boot: OpenBoot): void {
    this.#all.delete(boot);
    if (this.#byMac.get(boot.machine) === boot) this.#byMac.delete(boot.machine);
    for (const address of boot.addresses) this.#leave(boot, address);
  }

  #come(boot: OpenBoot, address: string): void {
    come(this.#byAddress, boot, address);
    if (boot.machine === '') come(this.#nameless, boot, address);
  }

  #leave(boot: OpenBoot, address: string): void {
    leave(this.#byAddress, boot, address);
    leave(this.#nameless, boot, address);
  }
}

function come(places: Map<string, Set<OpenBoot>>, boot: OpenBoot, address: string): void {
  const there = places.get(address);
  if (there) there.add(boot);
  else places.set(address, new Set([boot]));
}

function leave(places: Map<string, Set<OpenBoot>>, boot: OpenBoot, address: string): void {
  const there = places.get(address);
  there?.delete(boot);
  if (there?.size === 0) places.delete(address);
}
