import { type ServeOptions, serve } from '../src/index.ts';

/**
 * Bootseal's server as a process of its own inside the lab's namespace, started through the Node API:
 *
 *     node product-server.js '{"tree":…}'
 *
 * prints `serving URL` when everything listens, and `boot {…}` whenever something of a boot has changed.
 */
const request = JSON.parse(process.argv[2] ?? '{}') as Omit<ServeOptions, 'clock' | 'log'>;
const say = (level: string) => (facts: object, message: string) => {
  process.stdout.write(`${level} ${message} ${JSON.stringify(facts)}\n`);
};
const serving = await serve({
  ...request,
  log: { info: say('info'), warn: say('warn'), error: say('error') },
});
serving.boots.subscribe(({ receipt }) => {
  process.stdout.write(`boot ${JSON.stringify(receipt)}\n`);
});
process.stdout.write(`serving ${serving.url}\n`);
process.once('SIGTERM', () => void serving.close(0));
