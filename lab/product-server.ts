import { type ServeOptions, serve } from '../src/index.ts';

/**
 * Bootseal's server as a process of its own inside the lab's namespace, started through the Node API:
 *
 *     node product-server.js '{"tree":…}'
 *
 * prints `serving URL` when everything listens, a line for each that the log has, `boot {…}` whenever something of a boot has
 * changed, and `event {…}` for what machines say of themselves.
 */
const request = JSON.parse(process.argv[2] ?? '{}') as Omit<ServeOptions, 'clock' | 'log'>;
const say = (level: string) => (facts: object, message: string) => {
  process.stdout.write(`${level} ${message} ${JSON.stringify(facts)}\n`);
};
const SAID: ReadonlySet<string> = new Set(['reported', 'gave-up', 'console']);
const serving = await serve({
  ...request,
  log: { info: say('info'), warn: say('warn'), error: say('error') },
  onEvent: (event) => {
    if (SAID.has(event.kind)) process.stdout.write(`event ${JSON.stringify(event)}\n`);
  },
});
serving.boots.subscribe(({ receipt }) => {
  process.stdout.write(`boot ${JSON.stringify(receipt)}\n`);
});
process.stdout.write(`serving ${serving.url}\n`);
process.once('SIGTERM', () => void serving.close(0));
