import { open, stat } from 'node:fs/promises';
import { startNbdServer } from '../src/serve/nbd/nbd.ts';
import { Shares } from '../src/serve/shares.ts';

/**
 * NBD over files as they are, checked by nobody: what would serve a tampered image, since Bootseal does not. The
 * protocol is the product's. Runs as a process of its own inside the lab's namespace:
 *
 *     node nbd-server.js ADDRESS PORT '{"EXPORT":"FILE",…}'
 *
 * and prints `listening PORT`.
 */
const [address = '', port = '', json = '{}'] = process.argv.slice(2);
const files = new Map(Object.entries(JSON.parse(json) as Record<string, string>));

const server = await startNbdServer({
  bind: address,
  port: Number(port),
  shares: new Shares(),
  emit: () => {},
  exports: {
    list: () => [...files.keys()].map((name) => ({ name, description: '' })),
    open: async (name) => {
      const path = files.get(name);
      if (path === undefined) return undefined;
      const { size } = await stat(path);
      const handle = await open(path);
      return {
        name,
        description: '',
        size,
        generation: 0,
        read: async (into, position) => {
          await handle.read(into, 0, into.length, position);
        },
        check: () => {},
        close: () => handle.close(),
      };
    },
  },
});
process.stdout.write(`listening ${server.port}\n`);
