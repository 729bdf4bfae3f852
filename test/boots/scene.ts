import type { BootFile, FindBootFile } from '../../src/boots/boot-files.ts';
import { Boots } from '../../src/boots/boots.ts';
import type { Receipt } from '../../src/boots/receipt.ts';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import type {
  Asking,
  DhcpClientKind,
  Outcome,
  Protocol,
  ServerEvent,
} from '../../src/release/server-event.ts';
import { Shares } from '../../src/serve/shares.ts';

export const MAC = '52:54:00:00:00:01';
export const OTHER = '52:54:00:00:00:02';
export const AT = '10.0.0.7';

/** A release whose early userspace reports, and one of which nothing on the machine can. */
const OURS = {
  release: 'ours/1',
  needs: ['vmlinuz', 'initrd', 'root'],
  reports: true,
  rootHash: 'ab'.repeat(32),
};
const ARCH = { release: 'arch/1', needs: ['vmlinuz', 'initrd', 'root'], reports: false };

const FILES: Readonly<Record<string, BootFile>> = {
  '/ipxe.efi': { stage: 'loader', path: '/ipxe.efi', begins: true },
  '/boot.ipxe': { stage: 'script', path: '/boot.ipxe', begins: true },
  '/boot.ipxe.sig': { stage: 'script', path: '/boot.ipxe.sig', beside: true },
  '/grub.cfg': { stage: 'script', path: '/grub.cfg', begins: true },
  '/uki.efi': { stage: 'kernel', release: OURS, path: 'uki.efi', holds: ['vmlinuz', 'initrd'], begins: true },
};

const find: FindBootFile = (server, asked) => {
  const known = FILES[asked.startsWith('/') ? asked : `/${asked}`];
  if (known) return known;
  const [, name, path = ''] = /^\/?(?:releases\/)?(ours|arch)\/1\/(.+)$/.exec(asked) ?? [];
  if (name === undefined) return undefined;
  const release = name === 'ours' ? OURS : ARCH;
  if (server === 'nbd') return { stage: 'root', release, path: 'root' };
  if (path.endsWith('.ipxe.sig')) return { stage: 'kernel', release, path, beside: true };
  const stage = {
    vmlinuz: 'kernel',
    initrd: 'initrd',
    root: 'root',
    'release.manifest': 'userspace',
  } as const;
  return { stage: stage[path as keyof typeof stage] ?? 'userspace', release, path };
};

/** A server's boots with clocks of their own, and the events that servers would tell. */
export class Scene {
  wall = Date.UTC(2026, 10, 1);
  mono = 1000;
  readonly neighbours = new Map<string, string>();
  readonly boots: Boots;
  #id = 0;

  constructor(options: Partial<ConstructorParameters<typeof Boots>[0]> = {}) {
    this.boots = new Boots({
      find,
      neighbour: (address) => this.neighbours.get(address),
      shares: new Shares(),
      clock: () => this.wall,
      monotonic: () => this.mono,
      log: { info: () => {}, warn: () => {}, error: () => {} },
      ...options,
    });
  }

  tell(event: ServerEvent): this {
    this.boots.observe(event);
    return this;
  }

  /** Seconds go by, and the server looks each of them. */
  pass(seconds: number): this {
    for (let second = 0; second < seconds; second += 1) {
      this.wall += 1000;
      this.mono += 1000;
      this.boots.tick();
    }
    return this;
  }

  offered(mac = MAC, client: DhcpClientKind = 'x64', remote = '0.0.0.0', again = false): this {
    const asking = { server: 'dhcp', remote, mac, known: false, again } as const;
    const offer = {
      interface: 'eth0',
      from: '10.0.0.1',
      file: 'ipxe.efi',
      message: 'offer',
      client,
    } as const;
    return this.tell({ kind: 'offered', ...asking, ...offer });
  }

  begin(
    asked: string,
    who: { remote?: string; mac?: string; server?: Protocol; method?: string } = {},
  ): Asking {
    this.#id += 1;
    const { remote = AT, server = 'http', ...more } = who;
    const asking = { server, id: this.#id, remote, port: 1024, asked, ...more };
    this.tell({ kind: 'started', ...asking });
    return asking;
  }

  end(asking: Asking, outcome: Outcome = 'complete', bytes = 100, status?: number): this {
    const answered = status === undefined ? {} : { status };
    return this.tell({ kind: 'ended', ...asking, outcome, bytes, durationMs: 1, ...answered });
  }

  /** Asked for and had. */
  gets(asked: string, who: Parameters<Scene['begin']>[1] = {}): this {
    return this.end(this.begin(asked, who));
  }

  /** The script, and what it has the machine start. */
  script(
    mac: string | undefined,
    remote = AT,
    starts: 'release' | 'local' | 'menu' | 'hold' = 'release',
  ): this {
    const whose = mac === undefined ? {} : { mac };
    const asking = this.begin('/boot.ipxe', { remote, ...whose });
    this.tell({ kind: 'decided', server: 'http', remote, loader: 'ipxe', starts, ...whose });
    const asked = '/boot.ipxe';
    this.tell({ kind: 'boot-began', server: 'http', remote, asked, trust: 'network-imgverify', ...whose });
    return this.end(asking);
  }

  refused(asked: string, code: RefusalCode, who: Parameters<Scene['begin']>[1] = {}): this {
    const asking = this.begin(asked, who);
    this.tell({ kind: 'refused', ...asking, refusal: new Refusal(code, `It is ${code}.`), status: 410 });
    return this.end(asking, 'refused', 0);
  }

  reported(outcome: 'verified' | 'refused', mac = MAC, remote = AT): this {
    const no = outcome === 'refused' ? ({ code: 'wrong-command-line', message: 'A word.' } as const) : {};
    return this.tell({ kind: 'reported', server: 'http', remote, mac, outcome, lines: ['last line'], ...no });
  }

  /** From the loader to the root image, of a release that reports. */
  whole(mac = MAC, remote = AT): this {
    return this.gets('ipxe.efi', { server: 'tftp', remote })
      .script(mac, remote)
      .gets('/releases/ours/1/vmlinuz', { remote })
      .gets('/releases/ours/1/initrd', { remote })
      .gets('/releases/ours/1/release.manifest', { remote });
  }

  /** All that there are, the first begun first. */
  async all(): Promise<readonly Receipt[]> {
    const all = await this.boots.find({}, 1000);
    return all.toSorted((one, other) => one.began - other.began || (one.machine < other.machine ? -1 : 1));
  }

  async said(): Promise<readonly string[]> {
    return (await this.all()).map(
      ({ machine, outcome, stage }) => `${machine || '?'} ${outcome} at ${stage}`,
    );
  }
}
