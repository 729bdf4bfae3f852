import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compare } from '../frame/compare.ts';
import { timedRun, timedRuns } from '../frame/process.ts';
import { bootseal, type SealedSite, unsealedSite } from '../frame/product.ts';
import { type Part, spreadOf } from '../frame/row.ts';

/** 16 MiB, in MB. */
const SMALL = 16.777216;

/** Why it is not faster: measured with each alone, for 900 MB. */
const HASHING =
  'Of 2.7 s of processors 1.9 are OpenSSL hashing what must be hashed (SHA-512 0.73, SHA-256 0.42, the blocks of the tree 0.55) and reading (0.15). Tried without gain: pieces from 256 KiB to 4 MiB, other ways to hash a block of 4 KiB (0.3 of 2.4 µs are not SHA-256).';

/** Sealing, beside the tools that a publisher runs one after another for the same seals of one image. */
export const part: Part = {
  name: 'seal',
  rows: [
    {
      name: 'seal/whole',
      job: 'seal a root image of 900 MB: every seal and tree, the whole command',
      against: 'sha512sum, openssl cms, gpg, veritysetup, fsverity, one after another',
      unit: 'times',
      goal: { atLeast: 4 },
      limit: `${HASHING} Two processors need a second for that; starting the program, signing and writing come to it.`,
    },
    {
      name: 'seal/processor',
      job: 'the same, by processor time',
      against: 'the same tools',
      unit: 'times',
      goal: { atLeast: 2 },
      limit: HASHING,
    },
    {
      name: 'seal/sha512',
      job: 'the same',
      against: 'openssl dgst -sha512 of the image',
      unit: 'times',
      goal: { atLeast: 0.8 },
      limit: `${HASHING} The two threads are busy a little longer than the one SHA-512;`,
    },
    {
      name: 'seal/fixed',
      job: 'seal a root image of 16 MiB: what sealing costs whatever the size',
      unit: 's',
      goal: { atMost: 0.3 },
      limit:
        'Most of it is loading the program. The two primes of the release leaf take 0.15 s of processors, side by side and while other things are done (OpenSSL makes sure of each with 64 rounds, half of that time); 17 signatures by RSA take 45 ms, on one processor. P-256 would cost nothing, and an iPXE before 2.0 verifies none.',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    say('makes a large image');
    const large = await freshSite(join(folder, 'large'), quick ? 8 : 900);
    const tools = await publisher(folder, large);
    const image = join(large.tree, large.rootfs);
    const compared = await compare(
      {
        ours: () => large.seal(),
        tools,
        sha512: () => timedRun('openssl', ['dgst', '-sha512', image]),
      },
      { rounds },
    );
    const seconds = (side: 'ours' | 'tools' | 'sha512') => `${compared.seconds(side).toFixed(2)} s`;
    const processor = (side: 'ours' | 'tools') => `${compared.processor(side).toFixed(2)} s`;
    tell('seal/whole', { values: compared.faster('tools'), ours: seconds('ours'), peer: seconds('tools') });
    tell('seal/processor', {
      values: compared.lighter('tools'),
      ours: processor('ours'),
      peer: processor('tools'),
    });
    tell('seal/sha512', {
      values: compared.faster('sha512'),
      ours: seconds('ours'),
      peer: seconds('sha512'),
    });
    await rm(large.tree, { recursive: true });

    say('makes a small one');
    const small = await freshSite(join(folder, 'small'), SMALL);
    const samples = [];
    for (let round = -1; round < rounds; round += 1) {
      const sample = await small.seal();
      if (round >= 0) samples.push(sample);
    }
    const { median } = spreadOf(samples.map(({ processor = 0 }) => processor));
    tell('seal/fixed', {
      values: samples.map(({ seconds }) => seconds),
      ours: `${median.toFixed(2)} s of processors`,
    });
  },
};

/** A site whose tree is sealed anew each time: no seal of an earlier time can be kept. */
export async function freshSite(folder: string, megabytes: number) {
  const site = await unsealedSite(folder, megabytes);
  const payload = new Set(await filesOf(site.tree));
  return {
    ...site,
    async seal() {
      for (const path of await filesOf(site.tree)) if (!payload.has(path)) await rm(path);
      return bootseal('seal', site.tree, '--keys', site.keys, '--release', site.release, '--quiet');
    },
  };
}

async function filesOf(tree: string): Promise<string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}

/** What makes the seals of the root image without Bootseal. */
async function publisher(folder: string, { tree, rootfs, keys, anchors }: SealedSite) {
  const image = join(tree, rootfs);
  const home = join(folder, 'gnupg');
  await mkdir(home, { mode: 0o700 });
  const gpg = ['--homedir', home, '--batch', '--yes', '--pinentry-mode', 'loopback', '--passphrase', ''];
  await timedRun('gpg', [...gpg, '--quick-generate-key', 'bench', 'rsa4096', 'sign', 'never']);
  const out = (name: string) => join(folder, name);
  const signer = ['-signer', join(anchors, 'codesign.crt'), '-inkey', join(keys, 'private/codesign.key')];
  const cms = ['cms', '-sign', '-binary', '-noattr', '-outform', 'DER', ...signer];
  return async () => {
    await rm(out('verity'), { force: true });
    return timedRuns([
      ['sha512sum', image],
      ['openssl', ...cms, '-in', image, '-out', out('cms')],
      ['gpg', ...gpg, '-o', out('sig'), '--detach-sign', image],
      ['veritysetup', 'format', '--salt=-', image, out('verity')],
      ['fsverity', 'digest', image],
    ]);
  };
}
