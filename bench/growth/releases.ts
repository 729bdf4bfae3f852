import { join } from 'node:path';
import type { Growth } from '../frame/parts.ts';
import { sealedSite, startedIn } from '../frame/product.ts';
import { spreadOf } from '../frame/row.ts';
import { addReleases, copyState, publishSite } from '../frame/stored.ts';

const RELEASES = [1, 10, 100, 1000, 10_000];
const ROUNDS = 5;

/** From the start of a server until it listens, by what its state holds beside the release that is named. */
export const growth: Growth = {
  name: 'releases',
  async run({ folder, quick, say }) {
    const site = await sealedSite(folder, 1);
    const one = await publishSite(site, join(folder, 'one'));
    const points: [number, number][] = [];
    for (const releases of quick ? [1, 3] : RELEASES) {
      say(`${releases} releases`);
      const state = copyState(one, join(folder, `state-${releases}`));
      addReleases(state, site, releases - 1);
      points.push([
        releases,
        await median(['--state', state, '--anchors', site.anchors], quick ? 1 : ROUNDS),
      ]);
    }
    return {
      name: 'releases',
      title: 'From start to serving, by releases in the state',
      across: 'releases',
      up: 'seconds',
      series: [{ name: 'serve', points }],
    };
  },
};

async function median(words: readonly string[], rounds: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) times.push((await startedIn(words)).seconds);
  return spreadOf(times).median;
}
