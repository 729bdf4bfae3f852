import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { IoError } from '../../src/errors/io.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { addReleases } from '../resigning/stores.ts';
import { copier } from './copies.ts';
import { demandFaultless } from './suite.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const site = join(folder, 'site');
await mkdir(site);
await addReleases(join(site, 'state'), join(folder, 'trees'), keys, [
  { release: 'lab/2026.11.01', named: true },
]);
const PATHS = ['boot.ipxe', 'boot.ipxe.sig', 'channels/stable', 'releases/lab/2026.11.01/root.img'];

/** Starts a server, and answers what a machine gets of it. What it could not send is a fault, and not another answer. */
async function served(at: string): Promise<unknown> {
  const server = await serve({
    state: join(at, 'state'),
    anchors: join(keys, 'anchors'),
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
  });
  try {
    const answers: unknown[] = [];
    for (const path of PATHS) {
      const url = `${server.url}/${path}`;
      const response = await fetch(url).catch((error: unknown) => {
        throw new IoError(`${url} was cut.`, url, undefined, { cause: error });
      });
      const text = await response.text().catch((error: unknown) => {
        throw new IoError(`${url} was cut.`, url, undefined, { cause: error });
      });
      if (response.status >= 500) throw new IoError(`${url} answers ${response.status}.`, url, undefined);
      answers.push([path, response.status, text]);
    }
    return answers;
  } finally {
    await server.close(0);
  }
}

await demandFaultless({
  'serve, from its start to the last byte': {
    depth: 2,
    copy: copier(folder, site),
    run: served,
    // An unreadable channel counts as none.
    demandDone: async (at) => assert.ok(await served(at)),
  },
});
