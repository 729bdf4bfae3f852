import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import { RECORD } from '../../src/formats/records/seal-names.ts';
import { compare } from '../frame/compare.ts';
import { bootseal, type SealedSite } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';
import { freshSite } from './seal.ts';

/** Another command line for a release that is sealed. */
export const part: Part = {
  name: 'reseal',
  rows: [
    {
      name: 'reseal/resign',
      job: 'another command line for a sealed release of 900 MB, by "resign", which reads no payload',
      against: '"seal" anew',
      unit: 'times',
    },
    {
      name: 'reseal/size',
      job: 'the same with 900 MB beside 10 MB',
      unit: 'times',
      goal: { atMost: 1.2 },
    },
    {
      name: 'reseal/seal',
      job: 'another command line by "seal" again, which reads all of it',
      against: '"seal" anew',
      unit: 'times',
      limit:
        '"seal" demands that every seal it keeps holds, and an OpenPGP signature hashes its own fields behind the content, so all of it is read. Inode, size and both times cannot stand for the bytes: a page that is mapped and dirty was changed after it had been read, and none of them moved. The kernel of the machine this was tried on has no fs-verity. Whoever wants to read nothing uses "resign".',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    say('makes a large image and a small one');
    const large = await freshSite(join(folder, 'large'), quick ? 8 : 900);
    const small = await freshSite(join(folder, 'small'), quick ? 1 : 10);
    await small.seal();
    const journal = join(folder, 'journal');
    await large.seal();
    const words = await wordsOf(large);
    let times = 0;
    const others = () => {
      times += 1;
      return `${words} bench=${times}`;
    };
    const resign = ({ tree, keys }: SealedSite) =>
      bootseal('resign', tree, '--keys', keys, '--cmdline', others(), '--journal', journal, '--quiet');
    const again = ({ tree, keys, release }: SealedSite) =>
      bootseal('seal', tree, '--keys', keys, '--release', release, '--cmdline', others(), '--quiet');
    const compared = await compare(
      {
        resign: () => resign(large),
        small: () => resign(small),
        seal: () => again(large),
        // The tree stays sealed for those who come next.
        anew: () => large.seal(),
      },
      { rounds },
    );
    const seconds = (side: 'resign' | 'small' | 'seal' | 'anew') => `${compared.seconds(side).toFixed(2)} s`;
    tell('reseal/resign', {
      values: compared.faster('anew'),
      ours: seconds('resign'),
      peer: seconds('anew'),
    });
    tell('reseal/size', {
      values: compared.faster('small').map((faster) => 1 / faster),
      ours: seconds('resign'),
      peer: seconds('small'),
    });
    tell('reseal/seal', {
      values: compared.samples.anew.map(
        (anew, round) => anew.seconds / (compared.samples.seal[round]?.seconds ?? anew.seconds),
      ),
      ours: seconds('seal'),
      peer: seconds('anew'),
    });
  },
};

/** The command line that a release is sealed with by itself. */
async function wordsOf({ tree }: SealedSite): Promise<string> {
  return decodeManifest(await readFile(join(tree, RECORD.manifest))).cmdline.join(' ');
}
