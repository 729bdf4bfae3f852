import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import type { Serving } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { pageSite, STABLE } from '../fixtures/page-site.ts';
import { SeenMachine } from '../fixtures/seen-boots.ts';
import { EventReader } from '../server/event-reader.ts';

/** A client that chooses every word it can choose, for whoever looks at the pages in a browser. */

const site = await pageSite(await temporaryFolder());

/** Each ends one context of HTML, of a script or of an event stream, and begins another. */
const EVIL = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' autofocus onfocus=alert(1) x='",
  '</textarea></title></style><svg onload=alert(1)>',
  'javascript:alert(1)',
  '\n\nevent: page\ndata: {"pieces":{"state":"forged"}}\n\n',
  '&lt;b&gt;&amp;',
  'a\u202eb\u0000\u001b[2J',
  '{{constructor.constructor("alert(1)")()}}',
];

async function attacked(t: TestContext): Promise<Serving> {
  const server = await site.serve();
  t.after(() => server.close(0));
  const { boots } = server;
  for (const [index, text] of EVIL.entries()) {
    const machine = new SeenMachine(boots, index + 1, STABLE).dhcp().script().kernel().initrd();
    boots.observe({ kind: 'console', server: 'syslog', remote: machine.address, mac: machine.mac, text });
    machine.refused('bad-signature', text, [text, `second ${text}`]);
    // Straight over the wire, as early userspace, loaders and anybody else would.
    const headers = { 'User-Agent': text.replace(/[^\x20-\x7e]/g, ''), Accept: 'text/html' };
    const query = new URLSearchParams({ mac: '52-54-00-12-34-56', uuid: text, serial: text, product: text });
    for (const path of ['/boot.ipxe', '/autoexec.ipxe', `/releases/${encodeURIComponent(text)}`])
      await fetch(`${server.url}${path}?${query}`, { headers }).then((response) => response.arrayBuffer());
    boots.observe({
      kind: 'offered',
      ...{ server: 'dhcp', remote: `10.0.8.${index + 1}`, mac: `52:54:00:00:02:0${index + 1}` },
      ...{ known: false, again: false, message: 'ack', client: 'x64', uuid: text, interface: text },
      ...{ file: text, from: text },
    });
  }
  return server;
}

/** What stands between the tags of the server's own, and in their attributes, is a text. */
function demandInert(page: string, where: string): void {
  assert.doesNotMatch(
    page,
    /<script(?! type="module" src="\/assets\/bootseal-[0-9a-f]{12}\.js"><\/script>)/i,
    where,
  );
  assert.doesNotMatch(page, /<(img|iframe|object|embed|base|link(?! rel="(icon|stylesheet)"))/i, where);
  // Attributes of a tag, with what they hold taken out.
  for (const [tag] of page.matchAll(/<[a-z][^>]*>/gi)) {
    const bare = tag.replace(/"[^"]*"/g, '""');
    assert.doesNotMatch(bare, /\son[a-z]+\s*=|srcdoc|['`]/i, `${where}: ${tag}`);
    assert.doesNotMatch(tag, /(?:href|src|action)="(?!\/|#|data:image\/svg)/, `${where}: ${tag}`);
  }
  assert.doesNotMatch(page, /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/, where);
}

it('no page says what a client made it say', async (t) => {
  const server = await attacked(t);
  const seen = new Set<string>();
  const waiting = [
    '/',
    ...['boots', 'machines', 'releases', 'channels', 'keys', 'quarantine'].map((name) => `/ui/${name}`),
    ...EVIL.flatMap((text) => [
      `/ui/machines?q=${encodeURIComponent(text)}`,
      `/ui/boots?machine=${encodeURIComponent(text)}&release=${encodeURIComponent(text)}&since=${encodeURIComponent(text)}`,
    ]),
  ];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    const response = await fetch(server.url + path);
    const page = await response.text();
    demandInert(page, path);
    for (const [, href = ''] of page.matchAll(/href="(\/ui\/[^"]+)"/g))
      waiting.push(href.replaceAll('&amp;', '&'));
  }
  assert.ok(seen.size > 40, `${seen.size} pages`);
  const [boot] = await server.boots.find({ machine: '52:54:00:00:01:01' }, 1);
  const page = await (await fetch(`${server.url}/ui/boots/${boot?.boot}`)).text();
  assert.ok(page.includes('&lt;script&gt;alert(1)&lt;/script&gt;'), 'the text is there to be read');
});

it('no event says what a client made it say, nor becomes two', async (t) => {
  const server = await attacked(t);
  const reader = await EventReader.open(t, `${server.url}/api/v1/events?of=page,boot,state`);
  const machine = new SeenMachine(server.boots, 99, STABLE).dhcp().script();
  for (const text of EVIL) {
    server.boots.observe({
      kind: 'console',
      server: 'syslog',
      remote: machine.address,
      mac: machine.mac,
      text,
    });
    const told = await reader.next(({ event, data }) => event === 'boot' && data.lines.includes(text));
    assert.equal(told.data.machine, machine.mac);
  }
  machine.refused('bad-signature', EVIL.join(' '), EVIL);
  const page = await reader.next(
    ({ event, data }) => event === 'page' && /REFUSED/.test(JSON.stringify(data.rows)),
  );
  for (const piece of [...Object.values(page.data.pieces), ...Object.values(page.data.rows)])
    demandInert(String(piece), 'a piece');
  assert.equal(page.data.pieces.state, undefined, 'nothing was forged');
});
