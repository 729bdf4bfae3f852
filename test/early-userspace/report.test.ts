import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../fixtures/folder.ts';

/** early-userspace/report under busybox, with curl and with busybox's wget, at a server that answers as it is told. */

const SCRIPT = fileURLToPath(new URL('../../../early-userspace/report', import.meta.url));
const FETCH = fileURLToPath(new URL('../../../early-userspace/network', import.meta.url));
const folder = await temporaryFolder();
const MAC = '52:54:00:12:34:56';
const ONCE = '0123456789abcdef';

type Reply = number | string | 'nothing';
interface Heard {
  readonly method: string;
  readonly url: string;
  readonly body: string;
  readonly type: string | undefined;
}

/** Answers by turns; the last one stays. A number is a status, a text the body of a 200; `nothing` hangs up. */
async function serverOf(t: TestContext, nonces: readonly Reply[], reports: readonly Reply[]) {
  const heard: Heard[] = [];
  const turns = { GET: [...nonces], POST: [...reports] };
  const server = createServer((req, res) => {
    let body = '';
    req.setEncoding('utf8').on('data', (piece: string) => {
      body += piece;
    });
    req.on('end', () => {
      const { method = '', url = '' } = req;
      heard.push({ method, url, body, type: req.headers['content-type'] });
      const left = turns[method === 'POST' ? 'POST' : 'GET'];
      const reply = left.length > 1 ? left.shift() : left[0];
      if (reply === undefined || reply === 'nothing') req.socket.destroy();
      else if (typeof reply === 'number') res.writeHead(reply).end('{"answer":"consumed"}\n');
      else res.writeHead(200).end(`${reply}\n`);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => server.close());
  return { heard, port: (server.address() as AddressInfo).port };
}

let runs = 0;

/** What the machine says on its console. */
async function ran(tool: 'curl' | 'wget', port: number, once: string): Promise<string[]> {
  runs += 1;
  const bootseal = join(folder, `machine-${runs}`);
  await mkdir(join(bootseal, 'bin'), { recursive: true });
  await mkdir(join(bootseal, 'net/eth0'), { recursive: true });
  await writeFile(join(bootseal, 'net/eth0/address'), '52:54:00:ff:ff:ff\n');
  if (tool === 'curl') await symlink('/usr/bin/curl', join(bootseal, 'bin/curl'));
  const program = `set -f -u
IFS=' '
export LC_ALL=C
bootseal=${bootseal} state=${bootseal} card=eth0 server=http://127.0.0.1:${port}/releases/arch/2026.11.01/
alias curl=/usr/bin/curl
say() { echo "$*"; }
refuse() { echo "REFUSED $*"; exit 1; }
sleep() { :; }
. ${FETCH}
split_server "$server"
. ${SCRIPT}
report_boot 01-52-54-00-12-34-56 '${once}'
echo started
`;
  return new Promise((done, reject) => {
    execFile('/bin/busybox', ['sh', '-c', program], { encoding: 'utf8' }, (error, stdout, stderr) => {
      if (stderr !== '') reject(new Error(stderr));
      else if (error && error.code !== 1) reject(error);
      else done(stdout.trimEnd().split('\n'));
    });
  });
}

const N = (digit: string) => digit.repeat(32);
const nonce = (digit: string) => `{"nonce":"${N(digit)}"}`;
const CONSUMED = '{"answer":"consumed"}';
const GONE = 'REFUSED stale The server says that this machine is not armed for this boot, or not any more.';
const SILENT =
  'REFUSED unreachable The server did not answer whether this machine may begin what it was armed with.';

for (const tool of ['curl', 'wget'] as const) {
  describe(`a report by ${tool}`, () => {
    it('of an armed boot says what the server wants to know, and goes on when it is consumed', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a')], [CONSUMED]);
      assert.deepEqual((await ran(tool, port, ONCE)).slice(-2), [
        'this boot is the one that was armed; the next one is another',
        'started',
      ]);
      assert.deepEqual(heard, [
        { method: 'GET', url: `/api/v1/boots/nonce?mac=${MAC}&once=${ONCE}`, body: '', type: undefined },
        {
          method: 'POST',
          url: '/api/v1/boots',
          body: JSON.stringify({ mac: MAC, nonce: N('a'), once: ONCE, outcome: 'verified' }),
          type: 'application/json',
        },
      ]);
    });

    it('whose answer was lost is sent again with the same nonce, and with another only where that is unknown', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a'), nonce('b')], ['nothing', 503, 409, CONSUMED]);
      assert.equal((await ran(tool, port, ONCE)).at(-1), 'started');
      const sent = heard
        .filter(({ method }) => method === 'POST')
        .map(({ body }) => /"nonce":"(.)/.exec(body)?.[1]);
      // busybox asks once more by itself where a connection is lost.
      assert.deepEqual([...new Set(sent)], ['a', 'b']);
      assert.equal(sent.at(-1), 'b');
    });

    for (const [what, nonces, reports, last] of [
      ['the arming is over', [nonce('a')], [410], GONE],
      ['nothing is armed', [nonce('a')], [404], GONE],
      ['there is no such page', [404], [404], GONE],
      ['it says something else', [nonce('a')], ['{"answer":"noted"}'], SILENT],
      ['it says more than it should', [nonce('a')], [`${CONSUMED} and more`], SILENT],
      ['it has no nonce', ['{"nonce":"$(reboot)"}'], [CONSUMED], SILENT],
      ['it hangs up', ['nothing'], ['nothing'], SILENT],
      ['it fails', [nonce('a')], [500], SILENT],
    ] as const) {
      it(`starts nothing where ${what}`, async (t) => {
        const { port } = await serverOf(t, nonces, reports);
        assert.equal((await ran(tool, port, ONCE)).at(-1), last);
      });
    }

    it('of any other boot is sent once, and holds nothing up', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a')], ['{"answer":"noted"}']);
      assert.deepEqual(await ran(tool, port, ''), ['started']);
      assert.equal(heard.at(-1)?.body, JSON.stringify({ mac: MAC, nonce: N('a'), outcome: 'verified' }));
      for (const reply of [404, 500, 'nothing', 'x'.repeat(5000)] as const) {
        const other = await serverOf(t, [reply], [410]);
        assert.deepEqual(await ran(tool, other.port, ''), ['started']);
      }
    });
  });
}
