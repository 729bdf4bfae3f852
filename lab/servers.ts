import type { ChildProcess } from 'node:child_process';
import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { entryFolder } from '../src/formats/records/entry-folder.ts';
import { decodeManifest } from '../src/formats/records/manifest.ts';
import type { ServeOptions } from '../src/index.ts';
import type { ServerEvent } from '../src/release/server-event.ts';
import { LAN_ADDRESS, type Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import type { LabRelease } from './release.ts';

const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export interface RunningServer {
  readonly child: ChildProcess;
  stop(): Promise<void>;
}

/** What is served: a sealed tree, or what the channels of a STATE folder name. */
export type Served = { readonly keys: string } & ({ readonly tree: string } | { readonly state: string });

type Said = 'reported' | 'gave-up' | 'console';

/** What machines have told a product, in order, from when this is called. */
export function saidTo<K extends Said>(
  { child }: RunningServer,
  kind: K,
): readonly Extract<ServerEvent, { kind: K }>[] {
  const events: Extract<ServerEvent, { kind: K }>[] = [];
  if (child.stdout)
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.startsWith('event ')) return;
      const event = JSON.parse(line.slice('event '.length)) as ServerEvent;
      if (event.kind === kind) events.push(event as Extract<ServerEvent, { kind: K }>);
    });
  return events;
}

/** Bootseal, verifying and serving a release inside the LAN. */
export async function startProduct(
  lan: Lan,
  { keys, ...served }: Served,
  options: Pick<
    ServeOptions,
    'httpPort' | 'tftpPort' | 'nbdPort' | 'loaders' | 'configuration' | 'proxyDhcp'
  >,
): Promise<RunningServer> {
  const request = {
    ...('state' in served ? { state: served.state } : { tree: served.tree }),
    anchors: join(keys, 'anchors'),
    bind: LAN_ADDRESS,
    ...options,
  };
  const child = lan.spawn(process.execPath, [script('./product-server.js'), JSON.stringify(request)]);
  await waitForOutput(child, 'stdout', /^serving /m);
  return running(child);
}

/** A plain web server over a folder: what would serve a tampered release, since ours does not. */
export async function startStatic(
  lan: Lan,
  folder: string,
  port: number,
  address = LAN_ADDRESS,
): Promise<RunningServer> {
  const child = lan.spawn(process.execPath, [script('./static-server.js'), folder, address, String(port)]);
  await waitForOutput(child, 'stdout', /listening/);
  return running(child);
}

/** A time server on port 123. @param seconds since 1970, what it says; `silent`: it hears and never answers. */
export async function startSntp(lan: Lan, seconds: number | 'silent'): Promise<RunningServer> {
  const child = lan.spawn(process.execPath, [script('./sntp-server.js'), LAN_ADDRESS, String(seconds)]);
  await waitForOutput(child, 'stdout', /listening/);
  return running(child);
}

/**
 * An NBD server on `port` that comes and goes: it gives on to the one on port `onward`, and cuts the first `cuts` connections,
 * each some milliseconds after its first read: the second one twice as long after it, and so on.
 */
export async function startCuttingRelay(
  lan: Lan,
  {
    port,
    onward,
    cuts,
    ms,
  }: { readonly port: number; readonly onward: number; readonly cuts: number; readonly ms: number },
): Promise<RunningServer> {
  const child = lan.spawn(process.execPath, [
    ...[script('./cutting-relay.js'), port, onward, cuts, ms].map(String),
  ]);
  await waitForOutput(child, 'stdout', /listening/);
  return running(child);
}

/** Copies what Bootseal serves of a release into a folder for `startStatic`; further names are fetched. */
export async function copySite(release: Pick<LabRelease, 'tree' | 'release'>, folder: string): Promise<void> {
  const inside = join(folder, 'releases', release.release);
  await mkdir(inside, { recursive: true });
  await cp(release.tree, inside, { recursive: true });
  const { arch } = decodeManifest(await readFile(join(release.tree, 'release.manifest')));
  const entry = join(folder, entryFolder(arch));
  await mkdir(entry, { recursive: true });
  for (const name of ['boot.ipxe', 'boot.ipxe.sig', 'grub.cfg', 'grub.cfg.sig']) {
    for (const place of [folder, entry]) await cp(join(release.tree, name), join(place, name));
  }
}

export function running(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): RunningServer {
  // What nobody reads must not fill the pipe and stop the server.
  child.stdout?.resume();
  child.stderr?.resume();
  return {
    child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await gone;
    },
  };
}
