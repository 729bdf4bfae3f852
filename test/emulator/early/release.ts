import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EarlyEvent, EarlyVerdict } from '../../../src/emulator/early/contract.ts';
import { EarlyKeys } from '../../../src/emulator/early/keys.ts';
import { runEarly } from '../../../src/emulator/early/run.ts';
import { readInitramfs } from '../../../src/emulator/initramfs.ts';
import type { Fetched, FetchOptions } from '../../../src/emulator/transport.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import { type CpioSource, cpioEntries, encodeCpio } from '../../../src/formats/archive/cpio.ts';
import { defaultPolicy } from '../../../src/trust/policy.ts';
import { NOW } from '../../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../../fixtures/release.ts';

export const DIRECTORY = 'arch/x86_64';
export const ROOT = `${DIRECTORY}/airootfs.sfs`;
export const SERVER = 'http://10.0.0.1:8080/releases/arch/2026.11.01/';
export const CHECKS = 'checksum=y verify=y cms_verify=y';

/** Content of a tree or of an initramfs, by path. */
export type Files = Readonly<Record<string, Uint8Array>>;

/** What a sealed release serves to early userspace: the root image and its four seals. */
export async function sealedRoot(folder: string, keys: string, image = 'root image'): Promise<Files> {
  const tree = await sampleTree(join(folder, 'tree'), keys);
  await writeFile(join(tree, ROOT), Buffer.alloc(200_000, image));
  await sealFixture(tree, keys);
  const names = [ROOT, `${ROOT}.sig`, `${ROOT}.cms.sig`, `${DIRECTORY}/airootfs.sha512`];
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(tree, name))] as const)),
  );
}

/** What mkinitcpio-archiso puts into an initramfs, from an `init` folder. */
export async function keyFiles(keys: string): Promise<Files> {
  const anchor = (name: string) => readFile(join(keys, 'anchors', name));
  return {
    'codesign.crt': await anchor('codesign.crt'),
    'codesign_CA.crt': await anchor('ca.crt'),
    'gpg/pubring.gpg': await anchor('pubring.gpg'),
    'bootseal/manifest.crt': await anchor('manifest.crt'),
    'bootseal/manifest.gpg': await anchor('manifest.gpg'),
  };
}

export function initrd(files: Files): Uint8Array {
  const sources: CpioSource[] = [
    { kind: 'directory', name: 'gpg', mode: 0o700 },
    { kind: 'directory', name: 'bootseal' },
  ];
  for (const [name, data] of Object.entries(files)) sources.push({ kind: 'file', name, data });
  return encodeCpio(cpioEntries(sources, 0));
}

export function flipped(bytes: Uint8Array, at = bytes.length - 1): Uint8Array {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
}

export function without<T>(files: Readonly<Record<string, T>>, ...names: string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(files).filter(([name]) => !names.includes(name)));
}

export interface Early {
  readonly files: Files;
  readonly initrds: readonly Uint8Array[];
  readonly cmdline?: string;
  readonly now?: number;
  readonly maxRootBytes?: number;
  /** Bytes after which a file's transfer breaks, by path. */
  readonly breaks?: Readonly<Record<string, number>>;
  /** False: Range is ignored, and the whole file sent. */
  readonly ranges?: boolean;
}

export interface Ran extends EarlyVerdict {
  /** What was asked of the server, in order: `0-0 path` where a range was. */
  readonly asked: readonly string[];
  readonly console: readonly string[];
  /** Bytes that left the server. */
  readonly sent: number;
}

/** Early userspace with an initramfs and a server in memory. */
export async function early(setting: Early): Promise<Ran> {
  const { files, initrds, now = NOW, breaks = {} } = setting;
  const asked: string[] = [];
  const console: string[] = [];
  let sent = 0;
  const pieces = async function* (bytes: Uint8Array, limit: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 65_536) {
      if (at >= limit) throw new Refusal('unreachable', 'The connection broke.');
      const piece = bytes.subarray(at, at + 65_536);
      sent += piece.length;
      yield piece;
    }
  };
  const fetch = async (url: string, { range }: FetchOptions = {}): Promise<Fetched> => {
    const path = url.startsWith(SERVER) ? url.slice(SERVER.length) : url;
    asked.push(range ? `${range.first}-${range.last} ${path}` : path);
    // As servers do that know no query.
    const bytes = files[path.replace(/\?.*/, '')];
    if (!bytes) throw new Refusal('absent', `${url} does not exist.`, { url });
    const partial = range !== undefined && setting.ranges !== false;
    const part = partial ? bytes.subarray(range.first, range.last + 1) : bytes;
    return { url, size: part.length, partial, body: pieces(part, breaks[path] ?? Number.POSITIVE_INFINITY) };
  };
  const verdict = await runEarly({
    initramfs: await readInitramfs(initrds, EarlyKeys.reading),
    cmdline: setting.cmdline ?? `archisobasedir=arch ${CHECKS} archiso_http_srv=${SERVER}`,
    arch: 'x86_64',
    transport: { fetch },
    policy: defaultPolicy(now),
    now,
    ...(setting.maxRootBytes === undefined ? {} : { maxRootBytes: setting.maxRootBytes }),
    onEvent: (event: EarlyEvent) => {
      if (event.kind === 'console') console.push(event.text);
    },
  });
  return {
    ...verdict,
    asked,
    console,
    get sent() {
      return sent;
    },
  };
}

/** Each check and what became of it: `verified`, or the code of its refusal. */
export function outcomes({ findings }: EarlyVerdict): Record<string, string> {
  return Object.fromEntries(
    findings.map((finding) => [finding.check, finding.verified ? 'verified' : finding.refusal.code]),
  );
}

/** Puts files where a tool can read them. */
export async function onDisk(folder: string, files: Files): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const [path, bytes] of Object.entries(files))
    await writeFile(join(folder, path.slice(path.lastIndexOf('/') + 1)), bytes);
  return folder;
}
