import { join } from 'node:path';
import { verify } from '../conformance/verify.ts';
import { linuxOf } from '../formats/records/manifest.ts';
import { freeWords } from '../scripts/free-words.ts';
import { MANIFEST_WORD } from '../trust/command-line.ts';
import type { AnchorFolders } from '../trust/trust-roots.ts';

export interface DirectBootOptions {
  /** A sealed tree. */
  readonly tree: string;
  readonly anchors: AnchorFolders;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** `NAME=VALUE`, for free words of its manifest: `ip=dhcp`, where the server is. */
  readonly words?: readonly string[];
}

/** What a loader that has verified a release would start. */
export interface DirectBoot {
  readonly release: string;
  /** Path of the kernel: `qemu -kernel`. */
  readonly kernel: string;
  /** Paths of the initrds, in their order; each is to begin at a multiple of four bytes. */
  readonly initrds: readonly string[];
  /** `qemu -append`. */
  readonly commandLine: string;
}

/**
 * Verifies a tree, and says how its kernel is started without a loader: for test harnesses, whose QEMU begins with
 * `-kernel`. What follows on the machine is verified there, as on any other.
 *
 * @throws Refusal where the tree does not verify, or `wrong-command-line` for a word that fills nothing; UsageError, IoError.
 */
export async function directBoot({ tree, anchors, now, words = [] }: DirectBootOptions): Promise<DirectBoot> {
  const { release, refusal } = await verify({ tree, anchors, now });
  if (!release) throw refusal;
  const { manifest, manifestSha256 } = release;
  const { path, cmdline } = linuxOf(manifest);
  const filled = freeWords(manifest, words);
  const initrds = manifest.files.filter(({ role }) => role === 'initrd' || role === 'overlay');
  return {
    release: release.release,
    kernel: join(tree, path),
    initrds: initrds.map((file) => join(tree, file.path)),
    commandLine: [...cmdline, ...filled.values(), `${MANIFEST_WORD}=${manifestSha256}`].join(' '),
  };
}
