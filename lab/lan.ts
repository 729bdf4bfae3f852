import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CommandResult, execute, run } from './command.ts';
import { type DhcpOptions, dnsmasqArguments } from './dnsmasq.ts';
import { waitForOutput } from './output.ts';

/** The address of the bridge: where every server of the lab listens. */
export const LAN_ADDRESS = '10.77.0.1';

const BRIDGE = 'br0';
const PREFIX6 = 'fd77::';
const PREFIX = 'bootseal-lab-';

export interface Dhcp {
  /** What dnsmasq logged so far: every DHCP and TFTP transaction. */
  log(): string;
  stop(): Promise<void>;
}

/** A network of its own, in a namespace of its own, that no other program or run can see. */
export interface Lan {
  readonly name: string;
  /** Removed by `close`. */
  readonly workFolder: string;
  /** Starts a program inside the namespace; `close` ends it where it still runs. */
  spawn(command: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Runs a program inside the namespace to its end. */
  execute(command: string, args: readonly string[]): Promise<CommandResult>;
  /** dnsmasq on the bridge. Resolves when it answers. One at a time; `stop` it to start another. */
  startDhcp(options: DhcpOptions): Promise<Dhcp>;
  /** A new tap on the bridge, by its name, for one machine's network card. */
  addTap(): Promise<string>;
  close(): Promise<void>;
}

const open = new Set<OpenLan>();
let created = 0;

/**
 * Makes a LAN: bridge 10.77.0.1/24 in a new network namespace. Needs root. Also removes the namespaces of
 * earlier runs whose process is gone.
 */
export async function createLan(): Promise<Lan> {
  await demandNamespaces();
  await removeLeftovers();
  const name = `${PREFIX}${process.pid}-${startTime(process.pid)}-${++created}`;
  watchProcess();
  await run('ip', ['netns', 'add', name]);
  const lan = new OpenLan(name, await mkdtemp(join(tmpdir(), `${name}-`)));
  open.add(lan);
  try {
    await lan.setUp();
  } catch (error) {
    await lan.close();
    throw error;
  }
  return lan;
}

class OpenLan implements Lan {
  readonly name: string;
  readonly workFolder: string;
  readonly #children = new Set<ChildProcess>();
  #taps = 0;

  constructor(name: string, workFolder: string) {
    this.name = name;
    this.workFolder = workFolder;
  }

  async setUp(): Promise<void> {
    const steps = [
      ['link', 'set', 'lo', 'up'],
      // A bridge keeps a new port silent for its forward delay, 15 s by default: longer than a boot ROM's patience.
      ['link', 'add', BRIDGE, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0'],
      ['addr', 'add', `${LAN_ADDRESS}/24`, 'dev', BRIDGE],
      ['addr', 'add', `${PREFIX6}1/64`, 'dev', BRIDGE, 'nodad'],
      ['link', 'set', BRIDGE, 'up'],
    ];
    for (const step of steps) await run('ip', ['-n', this.name, ...step]);
  }

  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    // `ip netns exec` becomes the program, so the child's pid is the program's.
    const child = spawn('ip', ['netns', 'exec', this.name, command, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
    });
    this.#children.add(child);
    child.on('error', () => this.#children.delete(child));
    child.on('exit', () => this.#children.delete(child));
    return child;
  }

  execute(command: string, args: readonly string[]): Promise<CommandResult> {
    return execute('ip', ['netns', 'exec', this.name, command, ...args]);
  }

  async startDhcp(options: DhcpOptions): Promise<Dhcp> {
    const args = dnsmasqArguments(options, {
      bridge: BRIDGE,
      address: LAN_ADDRESS,
      prefix6: PREFIX6,
      leaseFile: join(this.workFolder, 'leases'),
      pidFile: join(this.workFolder, 'dnsmasq.pid'),
    });
    const child = this.spawn('dnsmasq', args);
    let log = '';
    child.stderr?.on('data', (piece: Buffer) => {
      log += piece.toString('utf8');
    });
    await waitForOutput(child, 'stderr', /DHCP, sockets bound exclusively|DHCP, IP range/);
    return { log: () => log, stop: () => end(child) };
  }

  async addTap(): Promise<string> {
    const tap = `tap${this.#taps++}`;
    await run('ip', ['-n', this.name, 'tuntap', 'add', 'dev', tap, 'mode', 'tap']);
    await run('ip', ['-n', this.name, 'link', 'set', tap, 'master', BRIDGE, 'up']);
    return tap;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#children].map(end));
    this.closeNow();
    await rm(this.workFolder, { recursive: true, force: true });
  }

  /** Everything that needs no waiting, so that it can also run while the process exits. */
  closeNow(): void {
    if (!open.delete(this)) return;
    removeNamespace(this.name);
    rmSync(this.workFolder, { recursive: true, force: true });
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function demandNamespaces(): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new Error('The lab needs root: it makes a network namespace with a bridge and taps.');
  }
  if (!existsSync('/dev/net/tun')) {
    throw new Error('The lab needs /dev/net/tun (kernel module tun), which is missing.');
  }
  const probe = await execute('ip', ['netns', 'list']);
  if (probe.status !== 0) {
    throw new Error(`The lab needs ip netns, which does not work here: ${probe.stderr.trim()}`);
  }
}

/** Processes inside were started by the run that made the namespace: nothing else can enter it by accident. */
function removeNamespace(name: string): void {
  const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  for (const line of (stdout ?? '').split('\n')) {
    const pid = Number(line);
    if (!Number.isInteger(pid) || pid <= 1) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended on its own between the list and the signal.
    }
  }
  spawnSync('ip', ['netns', 'delete', name]);
}

/** A namespace's name holds its maker's pid and start time: a reused pid is not mistaken for the maker. */
async function removeLeftovers(): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'list']);
  for (const line of stdout.split('\n')) {
    const name = line.split(' ')[0] ?? '';
    const match = /^bootseal-lab-(\d+)-(\d+)-\d+(?:-[a-z])?$/.exec(name);
    if (match === null || startTime(Number(match[1])) === match[2]) continue;
    removeNamespace(name);
    for (const entry of await readdir(tmpdir())) {
      if (entry.startsWith(`${name}-`)) await rm(join(tmpdir(), entry), { recursive: true, force: true });
    }
  }
}

/** Clock ticks since the machine's start; `gone` where there is no such process (proc(5), stat field 22). */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name, field 2, may hold spaces and parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? 'gone';
  } catch {
    return 'gone';
  }
}

let watching = false;

function watchProcess(): void {
  if (watching) return;
  watching = true;
  const closeAll = () => {
    for (const lan of open) lan.closeNow();
  };
  process.on('exit', closeAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      closeAll();
      process.kill(process.pid, signal);
    });
  }
}
