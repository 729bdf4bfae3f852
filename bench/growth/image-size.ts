import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Growth } from '../frame/parts.ts';
import { bootseal, unsealedSite } from '../frame/product.ts';

const MEGABYTES = [10, 40, 160, 640, 2000, 4000];

/** Sealing and verifying, from a small image to one of 4 GB. */
export const growth: Growth = {
  name: 'image-size',
  async run({ folder, quick, say }) {
    const seal: [number, number][] = [];
    const verify: [number, number][] = [];
    for (const megabytes of quick ? [1, 2] : MEGABYTES) {
      say(`${megabytes} MB`);
      const place = join(folder, String(megabytes));
      const { tree, keys, anchors, release } = await unsealedSite(place, megabytes);
      const sealing = await bootseal('seal', tree, '--keys', keys, '--release', release, '--quiet');
      const verifying = await bootseal('verify', tree, '--anchors', anchors, '--quiet');
      seal.push([megabytes, sealing.seconds]);
      verify.push([megabytes, verifying.seconds]);
      await rm(place, { recursive: true });
    }
    return {
      name: 'image-size',
      title: 'Sealing and verifying, by the size of the root image',
      across: 'root image, MB',
      up: 'seconds',
      series: [
        { name: 'seal', points: seal },
        { name: 'verify', points: verify },
      ],
    };
  },
};
