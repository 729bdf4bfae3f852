import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '../../formats/records/manifest.ts';
import type { Artifact, Layout } from '../../release/layout.ts';
import { compileBootScript } from '../../scripts/compile.ts';
import { compileGrubConfig } from '../../scripts/grub-config.ts';
import { serverAddress } from '../../scripts/server-address.ts';
import type { Keys } from '../../signing/keys/key-folder.ts';
import { sealTree } from '../../signing/sealer.ts';
import { signersOf } from '../../signing/signatories.ts';
import { MANIFEST_WORD } from '../../trust/command-line.ts';
import { copyFiles, type WorkTree } from './work-tree.ts';

/** Whole releases that the site's own keys seal: what an attacker may have kept, or may have made. */

/** Of whose keys and files a release is made. */
export interface ReleaseMaker {
  readonly work: string;
  readonly copy: WorkTree;
  readonly manifest: Manifest;
  readonly keys: Keys;
}

export interface MadeRelease {
  readonly folder: string;
  readonly manifest: Manifest;
}

export interface ReleaseWish {
  /** Default: the very release. */
  readonly release?: string;
  readonly serial?: number;
  /** Milliseconds since 1970. */
  readonly issued?: number;
  readonly arch?: string;
  /** Scripts that name no manifest. */
  readonly nameless?: true;
  /** Changes artifacts before they are sealed. */
  readonly change?: (folder: string) => Promise<void>;
}

/** Seals the copy's artifacts anew, below `name` in the site's working folder. */
export async function makeRelease(site: ReleaseMaker, name: string, wish: ReleaseWish): Promise<MadeRelease> {
  const folder = join(site.work, name);
  const {
    release,
    serial,
    issued,
    bestBefore,
    arch,
    layout: kind,
    cmdline,
    moduleCmdline,
    free,
    files,
  } = site.manifest;
  await rm(folder, { recursive: true, force: true });
  const brought = files.filter(({ role }) => role in BROUGHT);
  await copyFiles(
    site.copy.folder,
    folder,
    brought.map(({ path }) => path),
  );
  await wish.change?.(folder);
  const layout: Layout = {
    release: wish.release ?? release,
    arch: wish.arch ?? arch,
    layout: kind,
    artifacts: files.filter((file): file is typeof file & Artifact => file.role in BROUGHT),
    cmdline,
    ...(moduleCmdline === undefined ? {} : { moduleCmdline }),
    free,
    notes: [],
  };
  const server = serverAddress(undefined);
  const { manifest } = await sealTree(folder, layout, signersOf(site.keys), {
    issued: wish.issued ?? issued,
    // No older by that than the release beside it: what is tried here is never age.
    bestBefore,
    serial: wish.serial ?? serial,
    rsaBits: 2048,
    compose: (of, manifestSha256) => {
      const script = (text: string) =>
        Buffer.from(
          wish.nameless ? text.replaceAll(` ${MANIFEST_WORD}=${manifestSha256}`, '') : text,
          'latin1',
        );
      return {
        bootIpxe: script(compileBootScript({ manifest: of, manifestSha256, server: server.script })),
        grubCfg: script(compileGrubConfig({ manifest: of, manifestSha256, server: server.grub })),
      };
    },
  });
  return { folder, manifest };
}

/** Roles of what a publisher brings; the rest of a manifest is made while sealing. */
const BROUGHT: Readonly<Record<Artifact['role'], true>> = {
  kernel: true,
  module: true,
  initrd: true,
  overlay: true,
  rootfs: true,
  file: true,
};
