import type { OpenBoot } from './open-boot.ts';

/** Which boots are under way, or were a while ago: by card, and by address. */
export class Whereabouts {
  readonly #byMac = new Map<string, OpenBoot>();
  readonly #byAddress = new Map<string, Set<OpenBoot>>();
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

  add(boot: OpenBoot): void {
    this.#all.add(boot);
    if (boot.machine !== '') this.#byMac.set(boot.machine, boot);
    for (const address of boot.addresses) this.#at(address).add(boot);
  }

  /** It is known now whose it is. */
  name(boot: OpenBoot, mac: string): void {
    boot.machine = mac;
    this.#byMac.set(mac, boot);
  }

  locate(boot: OpenBoot, address: string): void {
    const [first] = boot.addresses;
    const full = boot.addresses.length;
    if (!boot.addAddress(address)) return;
    this.#at(address).add(boot);
    if (first !== undefined && boot.addresses.length === full) this.#leave(boot, first);
  }

  remove(boot: OpenBoot): void {
    this.#all.delete(boot);
    if (this.#byMac.get(boot.machine) === boot) this.#byMac.delete(boot.machine);
    for (const address of boot.addresses) this.#leave(boot, address);
  }

  #at(address: string): Set<OpenBoot> {
    const there = this.#byAddress.get(address) ?? new Set<OpenBoot>();
    this.#byAddress.set(address, there);
    return there;
  }

  #leave(boot: OpenBoot, address: string): void {
    const there = this.#byAddress.get(address);
    there?.delete(boot);
    if (there?.size === 0) this.#byAddress.delete(address);
  }
}
