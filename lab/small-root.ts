import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './command.ts';
import { REAL_ROOT_LINE } from './rootfs.ts';

/** What the init of a small root prints before it powers off: that it runs, and the SHA-256 of its one large file. */
const INIT = `#!/bin/busybox sh
export PATH=/bin
[ -e /proc/self ] || mount -t proc proc /proc
mount -o remount,ro / 2>/dev/null
echo "${REAL_ROOT_LINE} (PID 1 is $$, sha256 $(sha256sum </content | cut -d ' ' -f 1))"
poweroff -f
`;

export interface SmallRoot {
  readonly image: Buffer;
  /** What its init prints where the image is whole. */
  readonly line: string;
}

/** A squashfs image with busybox and a file that nothing compresses. */
export async function smallRoot(mebibytes: number): Promise<SmallRoot> {
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-small-root-'));
  try {
    const root = join(folder, 'root');
    for (const name of ['bin', 'dev', 'etc', 'lib/live', 'proc', 'run', 'sbin', 'sys', 'tmp', 'usr', 'var']) {
      await mkdir(join(root, name), { recursive: true });
    }
    await cp('/bin/busybox', join(root, 'bin/busybox'));
    for (const name of ['cut', 'mount', 'poweroff', 'sh', 'sha256sum']) {
      await symlink('busybox', join(root, 'bin', name));
    }
    await writeFile(join(root, 'sbin/init'), INIT, { mode: 0o755 });
    const content = randomBytes(mebibytes * 2 ** 20);
    await writeFile(join(root, 'content'), content);
    const image = join(folder, 'image');
    await run('mksquashfs', [root, image, '-noD', '-no-progress', '-quiet', '-all-root']);
    const sha256 = createHash('sha256').update(content).digest('hex');
    return { image: await readFile(image), line: `${REAL_ROOT_LINE} (PID 1 is 1, sha256 ${sha256})` };
  } finally {
    await rm(folder, { recursive: true });
  }
}
