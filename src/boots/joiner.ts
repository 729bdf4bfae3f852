import type { RefusalCode } from '../errors/refusal.ts';
import type { Asking, DhcpClientKind, ServerEvent } from '../release/server-event.ts';
import type { BootFile, FindBootFile } from './boot-files.ts';
import { BootFinder, type BootFinderOptions } from './boot-finder.ts';
import type { Deadlines } from './deadlines.ts';
import { type Moment, type OpenBoot, rankOf } from './open-boot.ts';
import type { Join, Stage } from './receipt.ts';

export interface JoinerOptions extends BootFinderOptions {
  readonly find: FindBootFile;
  readonly deadlines: Deadlines;
}

/** Milliseconds after which an answer that may have been the last one was. */
const PENDING_MS = 5_000;
/** Milliseconds that a boot which has ended is remembered: for what comes late. */
const REMEMBERED_MS = 60 * 60_000;
/** Transfers that are followed at one time; the oldest is let go. */
const MOST_TRANSFERS = 50_000;
/** The part of a deadline after which a machine is called quiet, and at least so many milliseconds. */
const QUIET_PART = 3;
const QUIET_MS = 10_000;

const KERNEL = rankOf('kernel');
const USERSPACE = rankOf('userspace');

/**
 * Joins what servers see, and what machines say, to boots: by the card's address where it is said or known, else by the
 * address that asks. What two machines behind one address ask for is given to neither. Makes nothing out of nothing: a
 * boot begins with DHCP, a loader, a script, an image or a report.
 */
export class Joiner {
  readonly #options: JoinerOptions;
  readonly #finder: BootFinder;
  readonly #transfers = new Map<string, { readonly boot: OpenBoot; readonly file: BootFile }>();

  constructor(options: JoinerOptions) {
    this.#options = options;
    this.#finder = new BootFinder(options);
  }

  /** Those that go on, and those that ended a while ago. */
  get boots(): ReadonlySet<OpenBoot> {
    return this.#finder.where.all;
  }

  /** One that another process of this server had in hand. */
  take(boot: OpenBoot): void {
    this.#finder.take(boot);
  }

  observe(event: ServerEvent, at: Moment): void {
    switch (event.kind) {
      case 'offered':
        if (!event.again && event.mac !== '') this.#offered(event, at);
        return;
      case 'started':
        this.#started(event, at);
        return;
      case 'progress':
        this.#progress(event, at);
        return;
      case 'ended':
        this.#ended(event, at);
        return;
      case 'redirected':
        this.#redirected(event);
        return;
      case 'refused': {
        const { code, message } = event.refusal;
        this.#said(event, at, code, message);
        return;
      }
      case 'failed':
        this.#faulted(event, at);
        return;
      case 'decided':
        this.#decided(event, at);
        return;
      case 'boot-began':
        this.#began(event, at);
        return;
      case 'reported':
        this.#reported(event, at);
        return;
      case 'gave-up':
        this.#gaveUp(event, at);
        return;
      case 'console':
        this.#console(event);
        return;
      case 'answered':
      case 'turned-away':
      case 'fault':
      case 'silent':
      case 'interface':
    }
  }

  /** Time passes: who is quiet, who has stalled, and who is forgotten. */
  tick(at: Moment): void {
    for (const boot of this.#finder.where.all) {
      const silent = at.mono - boot.heard;
      if (boot.outcome !== 'running') {
        if (silent > REMEMBERED_MS) this.#finder.where.remove(boot);
        continue;
      }
      if (boot.active > 0) continue;
      if (boot.pending && silent >= PENDING_MS) {
        boot.refuse(boot.pending.code, boot.pending.message, 'server');
        this.#tell(boot);
        continue;
      }
      const deadline = this.#options.deadlines.of(boot.machine, boot.stage);
      if (silent >= deadline) {
        boot.end('stalled', 'server');
        this.#tell(boot);
      } else if (!boot.quiet && silent >= Math.max(QUIET_MS, deadline / QUIET_PART)) {
        boot.quiet = true;
        this.#tell(boot);
      }
    }
  }

  #tell(boot: OpenBoot): void {
    this.#options.onChange(boot);
  }

  #offered(event: Extract<ServerEvent, { kind: 'offered' }>, at: Moment): void {
    const { mac, remote, client, uuid, file } = event;
    const before = this.#finder.where.ofMac(mac);
    const isRunning = before?.outcome === 'running';
    // A loader that its firmware took long to start asks once more, in its own name.
    const isLoaders =
      before?.stage === 'loader' && isSecondLoader(client) && (isRunning || before.outcome === 'stalled');
    const goesOn =
      before !== undefined &&
      (isLoaders || (isRunning && (event.message === 'ack' || before.stage === 'dhcp')));
    const boot = goesOn ? before : this.#finder.begin('dhcp', mac, remote, at);
    if (!boot) return;
    if (boot.outcome === 'stalled') boot.reopen();
    this.#finder.where.locate(boot, remote);
    boot.uuid ??= uuid;
    boot.arch ??= ARCH_OF_CLIENT[client];
    if (client.startsWith('http-') && boot.route === 'unknown') boot.route = 'http';
    boot.enter('dhcp', at.mono, 'mac', file);
    boot.leave('dhcp', at.mono, 0, 'offered', file);
    this.#tell(boot);
  }

  #started(asking: Asking, at: Moment): void {
    const file = this.#fileOf(asking);
    if (!file) return;
    const whose = this.#finder.whose(asking, at, file.stage, file.begins === true);
    if (!whose) return;
    const { boot, join } = whose;
    if (file.beside) {
      boot.hear(at.mono);
      // Behind an address that many share, what a seal is asked for by name is all that tells how far a machine is.
      if (join === 'mac' && boot.outcome === 'running' && rankOf(file.stage) > rankOf(boot.stage)) {
        this.#enter(boot, file.stage, at, join, asking.asked);
        boot.leave(file.stage, at.mono, 0, undefined, asking.asked);
        if (file.release) boot.release = file.release;
      }
      this.#tell(boot);
      return;
    }
    this.#enter(boot, file.stage, at, join, asking.asked);
    if (file.release) boot.release = file.release;
    if (file.stage === 'loader') boot.loader = asking.asked.slice(asking.asked.lastIndexOf('/') + 1);
    boot.active += 1;
    this.#transfers.set(keyOf(asking), { boot, file });
    for (const [key, { boot: oldest }] of this.#transfers) {
      if (this.#transfers.size <= MOST_TRANSFERS) break;
      this.#transfers.delete(key);
      this.#finder.ofNow(oldest).active -= 1;
    }
    // A block device is never whole: that it is open is all that a machine needs.
    if (asking.server === 'nbd') boot.whole.add(file.path);
    this.#tell(boot);
  }

  #progress(asking: Asking, at: Moment): void {
    const transfer = this.#transfers.get(keyOf(asking));
    if (transfer) this.#finder.ofNow(transfer.boot).hear(at.mono);
  }

  #redirected(event: Extract<ServerEvent, { kind: 'redirected' }>): void {
    const transfer = this.#transfers.get(keyOf(event));
    if (transfer) this.#finder.ofNow(transfer.boot).byMirror(transfer.file.stage, event.bytes);
  }

  #fileOf(asking: Asking): BootFile | undefined {
    const file = this.#options.find(asking.server, asking.asked);
    // Firmware and mirrors ask how large something is, and then for all of it.
    return file && asking.method === 'HEAD' ? { ...file, beside: true } : file;
  }

  #ended(event: Extract<ServerEvent, { kind: 'ended' }>, at: Moment): void {
    const transfer = this.#transfers.get(keyOf(event));
    if (!transfer) return;
    const { outcome, bytes, status, asked } = event;
    this.#transfers.delete(keyOf(event));
    const { file } = transfer;
    const boot = this.#finder.ofNow(transfer.boot);
    boot.active -= 1;
    boot.leave(file.stage, at.mono, bytes, outcome, asked);
    if (outcome === 'complete' && boot.outcome === 'running') {
      // A part of a root image is what its machine reads, as from a block device; a part of anything else is a part.
      if (status !== 206 || file.stage === 'root')
        for (const path of [file.path, ...(file.holds ?? [])]) boot.whole.add(path);
      boot.pending = undefined;
      const { release } = boot;
      if (release && !release.reports && release.needs.every((path) => boot.whole.has(path)))
        boot.end('served', 'server');
    }
    this.#tell(boot);
  }

  #said(asking: Asking, at: Moment, code: RefusalCode, message: string): void {
    const transfer = this.#transfers.get(keyOf(asking));
    const file = transfer?.file ?? this.#fileOf(asking);
    if (!file) return;
    const boot = transfer
      ? this.#finder.ofNow(transfer.boot)
      : this.#finder.whose(asking, at, file.stage, file.begins === true)?.boot;
    if (boot?.outcome !== 'running') return;
    // A loader that finds one name missing asks for the next; the others mean what they say.
    if (code === 'absent') boot.pending = { code, message };
    else if (!file.beside || rankOf(file.stage) <= KERNEL) boot.refuse(code, message, 'server');
    this.#tell(boot);
  }

  #faulted(asking: Asking, at: Moment): void {
    const transfer = this.#transfers.get(keyOf(asking));
    const file = transfer?.file ?? this.#fileOf(asking);
    if (!file) return;
    const boot = transfer
      ? this.#finder.ofNow(transfer.boot)
      : this.#finder.whose(asking, at, file.stage, file.begins === true)?.boot;
    if (boot?.outcome !== 'running') return;
    boot.message = `This server could not read ${asking.asked}; its log says why.`;
    boot.end('failed', 'server');
    this.#tell(boot);
  }

  #decided(event: Extract<ServerEvent, { kind: 'decided' }>, at: Moment): void {
    const whose = this.#finder.whose(event, at, 'script', true);
    if (!whose) return;
    const { boot } = whose;
    boot.uuid ??= event.uuid;
    boot.arch = event.arch ?? boot.arch;
    boot.once = event.once ?? boot.once;
    boot.route = event.loader;
    boot.pending = undefined;
    if (boot.outcome !== 'running') boot.reopen();
    this.#enter(
      boot,
      'script',
      at,
      whose.join,
      boot.stages.findLast(({ stage }) => stage === 'script')?.what ?? '',
    );
    if (event.starts === 'local') boot.end('local', 'server');
    else if (event.starts !== 'release') boot.end('waiting', 'server');
    this.#tell(boot);
  }

  #began(event: Extract<ServerEvent, { kind: 'boot-began' }>, at: Moment): void {
    const whose = this.#finder.whose(event, at, event.trust === 'secure-boot' ? 'kernel' : 'script', true);
    if (!whose) return;
    whose.boot.trust = event.trust;
    if (event.trust === 'secure-boot') whose.boot.route = 'uki';
    else if (event.trust === 'grub') whose.boot.route = 'grub';
    else whose.boot.route = 'ipxe';
    this.#tell(whose.boot);
  }

  #reported(event: Extract<ServerEvent, { kind: 'reported' }>, at: Moment): void {
    const { mac, remote, outcome, release, root, code, message, lines, once } = event;
    const isDenied = this.#finder.isDenied(mac, remote);
    const before = isDenied ? this.#finder.where.ofMac(mac) : this.#finder.ofCard(mac, remote, 'report');
    // What early userspace said of a boot stands: a machine that halts says nothing more of it.
    const isOver = before?.by === 'report' && !before.doubted;
    const boot = before && !isOver ? before : this.#finder.begin('report', mac, remote, at);
    if (!boot) return;
    if (!isDenied) this.#finder.where.locate(boot, remote);
    // It says no from wherever it was: that is how far it came.
    const reached = boot === before ? boot.stage : 'userspace';
    this.#enter(boot, 'report', at, 'id', outcome);
    boot.leave('report', at.mono, 0, 'said', outcome);
    if (outcome === 'refused') boot.stage = reached;
    boot.doubted = isDenied;
    boot.once = once ?? boot.once;
    boot.root = root ?? boot.root;
    if (release !== undefined && boot.release?.release !== release)
      boot.release = { release, needs: [], reports: true };
    for (const line of lines) boot.addLine(line);
    if (isDenied)
      boot.addLine(`${remote} reported this; this network says that the machine is at another address.`);
    if (outcome === 'verified') boot.end('verified', 'report');
    else boot.refuse(code ?? 'no-verdict', message ?? 'It does not say why.', 'report');
    this.#tell(boot);
  }

  #gaveUp(event: Extract<ServerEvent, { kind: 'gave-up' }>, at: Moment): void {
    const whose = this.#finder.existing(event);
    if (!whose || whose.boot.outcome === 'verified') return;
    const { boot } = whose;
    boot.hear(at.mono);
    const { step, errno, code } = event;
    const why = `Its loader says that it could not ${step}${errno === undefined ? '' : ` (error ${errno})`}.`;
    // Others have said why already, who know more; and where early userspace runs, no loader is left that could say it.
    if (rankOf(boot.stage) >= USERSPACE || (boot.outcome === 'refused' && boot.by !== 'loader'))
      boot.addLine(why);
    else boot.refuse(code ?? boot.pending?.code ?? 'no-verdict', boot.pending?.message ?? why, 'loader');
    this.#tell(boot);
  }

  #console(event: Extract<ServerEvent, { kind: 'console' }>): void {
    const whose = this.#finder.existing(event);
    if (!whose || event.text === '') return;
    whose.boot.addLine(event.text);
    this.#tell(whose.boot);
  }

  #enter(boot: OpenBoot, stage: Stage, at: Moment, join: Join, what: string): void {
    if (boot.outcome === 'stalled' || boot.outcome === 'lost') boot.reopen();
    else if (rankOf(stage) > rankOf(boot.stage) && isOpenEnd(boot)) boot.reopen();
    const moved = boot.enter(stage, at.mono, join, what);
    if (moved) this.#options.deadlines.learn(boot.machine, moved.from, moved.ms);
  }
}

function keyOf({ server, id }: Asking): string {
  return `${server} ${id}`;
}

/** iPXE that a ROM, or firmware, has just loaded. */
function isSecondLoader(client: DhcpClientKind): boolean {
  return client.startsWith('ipxe') || client.startsWith('bootseal');
}

/** What comes next may still show that it goes on. */
function isOpenEnd({ outcome, by, doubted }: OpenBoot): boolean {
  return (
    doubted || outcome === 'waiting' || outcome === 'served' || (outcome === 'refused' && by !== 'report')
  );
}

const ARCH_OF_CLIENT: Readonly<Partial<Record<DhcpClientKind, string>>> = {
  'bootseal-arm64': 'aarch64',
  'ipxe-arm64': 'aarch64',
  'ipxe-x64': 'x86_64',
  ia32: 'i386',
  x64: 'x86_64',
  arm32: 'armv7l',
  arm64: 'aarch64',
  'http-ia32': 'i386',
  'http-x64': 'x86_64',
  'http-arm32': 'armv7l',
  'http-arm64': 'aarch64',
  'raspberry-pi': 'aarch64',
};
