import { join } from 'node:path';
import { EarlyKeys } from '../../emulator/early/keys.ts';
import { readInitramfs } from '../../emulator/initramfs.ts';
import { Refusal } from '../../errors/refusal.ts';
import { FolderTree } from '../../files/folder-tree.ts';
import { calledOf } from '../../formats/asn1/certificate-name.ts';
import { linuxOf, type Manifest } from '../../formats/records/manifest.ts';
import { day } from '../../trust/policy.ts';
import { type Finding, Findings } from './finding.ts';
import type { StateFacts } from './state-facts.ts';

/** A key that early userspace verifies with, inside an initramfs or overlay. */
export interface EarlyKey {
  readonly release: string;
  /** `the codesign certificate codesign.lab` */
  readonly what: string;
  /** Milliseconds since 1970; undefined: never. */
  readonly ends: number | undefined;
}

/** Bytes of all initrds of a release; what is larger is its root image, and holds no keys of its own. */
const READ = 512 * 1024 * 1024;

/** In 2026 the certificate inside Arch's boot images ended, and users were the first to notice. */
export function judgeEarlyKeys(keys: readonly EarlyKey[], now: number): readonly Finding[] {
  const findings = new Findings('expiry');
  const ended = keys.filter(({ ends }) => ends !== undefined && ends < now);
  for (const { release, what, ends = 0 } of ended)
    findings.fault(
      'expired-inside',
      `the initramfs of ${release} holds ${what}, which ended on ${day(ends)}: its machines stop before the root file system`,
      'Build the initramfs with anchors whose certificates last, seal the release anew and publish it.',
    );
  if (ended.length === 0 && keys.length > 0)
    findings.ok(`${keys.length} keys inside the initramfs images of what channels name`);
  return findings.all;
}

/** Of every release that a channel names. @throws Refusal, IoError */
export async function earlyKeys({ folder, channels, releases }: StateFacts): Promise<readonly EarlyKey[]> {
  const named = new Set<string>();
  for (const stored of channels.values())
    if (!(stored instanceof Refusal)) for (const { release } of stored.snapshot.releases) named.add(release);
  const keys: EarlyKey[] = [];
  for (const release of named) {
    const manifest = releases.get(release)?.manifest;
    if (manifest && !(manifest instanceof Refusal))
      keys.push(...(await keysOf(join(folder, 'releases', release), manifest)));
  }
  return keys;
}

async function keysOf(path: string, manifest: Manifest): Promise<readonly EarlyKey[]> {
  const of = (role: string) => manifest.files.filter((file) => file.role === role);
  const initrds = [...of('initrd'), ...of('overlay')];
  if (initrds.reduce((sum, { size }) => sum + size, 0) > READ) return [];
  const tree = new FolderTree(path);
  const parts: Uint8Array[] = [];
  // What is missing or of another size is told with the state.
  for (const file of initrds) {
    const bytes = await tree.read(file.path, file.size).catch((error: unknown) => {
      if (error instanceof Refusal) return undefined;
      throw error;
    });
    if (!bytes) return [];
    parts.push(bytes);
  }
  const inside = await readInitramfs(parts, {
    ...EarlyKeys.reading,
    names: initrds.map((file) => file.path),
  }).catch((error: unknown) => {
    // No initramfs that is known here: then nobody says what it holds.
    if (error instanceof Refusal) return undefined;
    throw error;
  });
  if (!inside) return [];
  const keys = EarlyKeys.of(inside, linuxOf(manifest).cmdline.join(' '));
  const { release } = manifest;
  const certificates = [
    ...(keys.hasCodesign ? [...keys.codesign(), ...keys.ca()] : []),
    ...(keys.hasManifest ? keys.manifest() : []),
  ];
  const openpgp = [
    ...(keys.hasOpenpgp ? keys.openpgp() : []),
    ...(keys.hasManifestKeyring ? keys.manifestKeyring() : []),
  ];
  return [
    ...certificates.map((one) => ({
      release,
      what: `the certificate of ${calledOf(one)}`,
      ends: one.notAfter,
    })),
    ...openpgp.flatMap((one) =>
      one.keys
        .filter(({ maySign }) => maySign)
        .map(({ key, expires }) => ({ release, what: `the OpenPGP key ${key.keyId}`, ends: expires })),
    ),
  ];
}
