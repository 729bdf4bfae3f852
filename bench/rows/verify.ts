import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { compare } from '../frame/compare.ts';
import { timedRun } from '../frame/process.ts';
import { bootseal, type SealedSite, sealedSite } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';

/** Verifying all of a sealed release, beside the stock tools, which look at three seals of its root image. */
export const part: Part = {
  name: 'verify',
  rows: [
    {
      name: 'verify/whole',
      job: 'verify a sealed release of 900 MB completely',
      against: 'sha512sum, gpg --verify, openssl cms -verify, one after another',
      unit: 'times',
      goal: { atLeast: 4 },
      limit:
        'For the image alone the tools hash SHA-512 twice and SHA-256 once; here it is SHA-512, SHA-256 and every block of the tree, each once, of all files. That is 1.9 s of processors, a second on two of them, where the tools need 3.2 to 3.5 s: three times as fast is the most. Taking one digest of the manifest for the other would be faster, and would not see a manifest whose digests are of different files.',
    },
    {
      name: 'verify/processor',
      job: 'the same, by processor time',
      against: 'the same tools',
      unit: 'times',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    say('seals a large image');
    const site = await sealedSite(join(folder, 'site'), quick ? 8 : 900);
    const tools = await machine(folder, site);
    const compared = await compare(
      { ours: () => bootseal('verify', site.tree, '--anchors', site.anchors, '--quiet'), tools },
      { rounds },
    );
    const seconds = (side: 'ours' | 'tools') => `${compared.seconds(side).toFixed(2)} s`;
    const processor = (side: 'ours' | 'tools') => `${compared.processor(side).toFixed(2)} s`;
    tell('verify/whole', { values: compared.faster('tools'), ours: seconds('ours'), peer: seconds('tools') });
    tell('verify/processor', {
      values: compared.lighter('tools'),
      ours: processor('ours'),
      peer: processor('tools'),
    });
  },
};

/** What archiso's early userspace does with a root image. */
async function machine(folder: string, { tree, rootfs, anchors }: SealedSite) {
  const image = join(tree, rootfs);
  const home = join(folder, 'gnupg');
  await mkdir(home, { mode: 0o700 });
  const gpg = ['--homedir', home, '--batch', '--trust-model', 'always'];
  await timedRun('gpg', [...gpg, '--import', join(anchors, 'pubring.gpg')]);
  const sums = basename(image).replace(/\.[^.]+$/, '.sha512');
  const signer = [
    '-nointern',
    '-certfile',
    join(anchors, 'codesign.crt'),
    '-CAfile',
    join(anchors, 'ca.crt'),
  ];
  const cms = [
    'cms',
    '-verify',
    '-binary',
    '-inform',
    'DER',
    '-purpose',
    'any',
    ...signer,
    '-out',
    '/dev/null',
  ];
  return async () => {
    const samples = [
      await timedRun('sha512sum', ['-c', '--quiet', sums], { cwd: dirname(image) }),
      await timedRun('gpg', [...gpg, '--verify', `${image}.sig`, image]),
      await timedRun('openssl', [...cms, '-in', `${image}.cms.sig`, '-content', image]),
    ];
    return {
      seconds: samples.reduce((sum, { seconds }) => sum + seconds, 0),
      processor: samples.reduce((sum, { processor = 0 }) => sum + processor, 0),
    };
  };
}
