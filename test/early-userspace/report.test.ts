import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decodeBootReport } from '../../src/formats/records/boot-report.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { REPORT_MAC, REPORT_NONCE, reportVectors } from '../fixtures/report-vectors.ts';

/** early-userspace/report under busybox, with curl and with busybox's wget, at a server that answers as it is told. */

const SCRIPT = fileURLToPath(new URL('../../../early-userspace/report', import.meta.url));
const FETCH = fileURLToPath(new URL('../../../early-userspace/network', import.meta.url));
const folder = await temporaryFolder();
const MAC = '52:54:00:12:34:56';
const ONCE = '0123456789abcdef';

type Reply = number | string | 'nothing' | 'silence';
interface Heard {
  readonly method: string;
  readonly url: string;
  readonly body: string;
  readonly type: string | undefined;
}

/**
 * Answers by turns; the last one stays. A number is a status, a text the body of a 200; `nothing` hangs up, `silence` keeps
 * the machine waiting.
 */
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
      if (reply === 'silence') return;
      if (reply === undefined || reply === 'nothing') req.socket.destroy();
      else if (typeof reply === 'number') res.writeHead(reply).end('{"answer":"consumed"}\n');
      else res.writeHead(200).end(`${reply}\n`);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { heard, port: (server.address() as AddressInfo).port };
}

let runs = 0;

interface Machine {
  readonly tool: 'curl' | 'wget';
  readonly port: number;
  /** Words of the command line that nobody has judged. */
  readonly once?: string;
  readonly bootif?: string;
  /** What its console showed so far; what the kernel said. */
  readonly console?: string;
  readonly kernel?: string;
}

/** What the machine says on its console when it runs this. */
async function ran(
  { tool, port, once = '', bootif = '01-52-54-00-12-34-56', console = '', kernel = '' }: Machine,
  program: string,
): Promise<string[]> {
  runs += 1;
  const bootseal = join(folder, `machine-${runs}`);
  await mkdir(join(bootseal, 'bin'), { recursive: true });
  await writeFile(join(bootseal, 'console'), console);
  await writeFile(join(bootseal, 'kernel'), kernel);
  if (tool === 'curl') await symlink('/usr/bin/curl', join(bootseal, 'bin/curl'));
  const text = `set -f -u
IFS=' '
export LC_ALL=C
bootseal=${bootseal} state=${bootseal} card=lo server=http://127.0.0.1:${port}/releases/arch/2026.11.01/
alias curl=/usr/bin/curl
say() { echo "$*"; }
refuse() { echo "REFUSED $*"; exit 1; }
sleep() { :; }
dmesg() { cat ${bootseal}/kernel; }
. ${FETCH}
split_server "$server"
. ${SCRIPT}
once=$1
find_reports "$2" "$once"
${program}
`;
  return new Promise((done, reject) => {
    const args = ['sh', '-c', text, 'sh', once, bootif];
    execFile('/bin/busybox', args, { encoding: 'utf8' }, (error, stdout, stderr) => {
      if (stderr !== '') reject(new Error(stderr));
      else if (error && error.code !== 1) reject(error);
      else done(stdout.trimEnd().split('\n'));
    });
  });
}

/** It was verified. */
const report = (tool: 'curl' | 'wget', port: number, once: string) =>
  ran({ tool, port, once }, 'release=arch/2026.11.01 mode=verity\nreport_boot\necho started');

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
      assert.deepEqual((await report(tool, port, ONCE)).slice(-2), [
        'this boot is the one that was armed; the next one is another',
        'started',
      ]);
      assert.deepEqual(heard, [
        { method: 'GET', url: `/api/v1/boots/nonce?mac=${MAC}&once=${ONCE}`, body: '', type: undefined },
        {
          method: 'POST',
          url: '/api/v1/boots',
          body: `{"mac":"${MAC}","nonce":"${N('a')}","once":"${ONCE}","outcome":"verified","release":"arch/2026.11.01","root":"verity"}`,
          type: 'application/json',
        },
      ]);
    });

    it('whose answer was lost is sent again with the same nonce, and with another only where that is unknown', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a'), nonce('b')], ['nothing', 503, 409, CONSUMED]);
      assert.equal((await report(tool, port, ONCE)).at(-1), 'started');
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
        assert.equal((await report(tool, port, ONCE)).at(-1), last);
      });
    }

    it('of any other boot is sent once, and holds nothing up', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a')], ['{"answer":"noted"}']);
      assert.deepEqual(await report(tool, port, ''), ['started']);
      assert.equal(
        heard.at(-1)?.body,
        `{"mac":"${MAC}","nonce":"${N('a')}","outcome":"verified","release":"arch/2026.11.01","root":"verity"}`,
      );
      for (const reply of [404, 500, 'nothing', 'x'.repeat(5000)] as const) {
        const other = await serverOf(t, [reply], [410]);
        assert.deepEqual(await report(tool, other.port, ''), ['started']);
      }
    });

    it('of an arming that is none is not sent, and starts nothing', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a')], [CONSUMED]);
      for (const once of ['0123456789ABCDEF', '0123456789abcde', '"', '../../x']) {
        assert.deepEqual(await report(tool, port, once), [
          'REFUSED wrong-command-line bootseal.once names no arming: that is 16 hex digits.',
        ]);
      }
      assert.deepEqual(heard, []);
    });

    for (const { name, report: said, text } of reportVectors) {
      it(`is written as everybody writes it: ${name}`, async (t) => {
        const { heard, port } = await serverOf(t, [nonce('a')], [CONSUMED]);
        const { once = '', release, root } = said;
        const known = release === undefined ? '' : `release=${release} mode=${root}`;
        const console = said.outcome === 'refused' ? `${said.lines.join('\n')}\n` : '';
        const kernel = '<3>[    1.5] what is not told with every refusal\n';
        await writeFile(join(folder, 'message'), said.outcome === 'refused' ? `${said.message}.` : '');
        // The shell drops newlines at the end of what it reads.
        const refusal = `message=$(cat ${folder}/message)\nreport_refusal ${said.outcome === 'refused' ? said.code : ''} "\${message%.}"`;
        const program = `${known}\n${said.outcome === 'verified' ? 'report_boot' : refusal}`;
        await ran({ tool, port, once, console, kernel }, program);
        assert.equal(heard.at(-1)?.body, text);
        assert.deepEqual([REPORT_MAC, REPORT_NONCE], [MAC, N('a')]);
      });
    }

    it('of a refusal is sent once, and nothing that comes back changes it', async (t) => {
      for (const [nonces, reports] of [
        [[nonce('a')], ['{"answer":"noted"}']],
        [[nonce('a')], [500]],
        [[nonce('a')], ['nothing']],
        [[nonce('a')], ['silence']],
        [[404], [404]],
        [['nothing'], [404]],
        [['silence'], [404]],
        [['{"nonce":"$(reboot)"}'], [404]],
        [['x'.repeat(100_000)], [404]],
      ] as const) {
        const { port } = await serverOf(t, nonces, reports);
        const program = 'report_refusal stale "It is stale."\necho halted';
        assert.deepEqual(await ran({ tool, port }, program), ['halted']);
      }
    });

    it('of a refusal says what the kernel warned of, where something is missing', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a')], ['{"answer":"noted"}']);
      const console = Array.from({ length: 30 }, (_, index) => `bootseal: ${index}\n`).join('');
      const kernel = [
        '<6>[    0.000000] Linux version 6.1.0',
        ...Array.from({ length: 9 }, (_, index) => `<4>[    1.50000${index}] warning ${index}`),
        '<3>[    2.000000] device-mapper: table: "verity": \\ unknown',
        '<5>[    2.100000] all is well',
        '<12>[    2.200000] a program says so',
        '',
      ].join('\n');
      for (const code of ['absent', 'no-verdict', 'stale'])
        await ran({ tool, port, console, kernel }, `report_refusal ${code} "It is missing."`);
      const [absent, verdict, stale] = heard
        .filter(({ method }) => method === 'POST')
        .map(({ body }) => decodeBootReport(Buffer.from(body)));
      const wanted = [
        ...Array.from({ length: 12 }, (_, index) => `bootseal: ${18 + index}`),
        ...Array.from({ length: 7 }, (_, index) => `kernel: warning ${2 + index}`),
        'kernel: device-mapper: table: "verity": \\ unknown',
      ];
      const linesOf = (said: typeof absent) => (said?.outcome === 'refused' ? said.lines : undefined);
      assert.deepEqual(linesOf(absent), wanted);
      assert.deepEqual(linesOf(verdict), wanted);
      assert.deepEqual(linesOf(stale)?.at(-1), 'bootseal: 29');
      assert.equal(linesOf(stale)?.length, 20);
    });

    it('by a machine whose command line spells something else is that of its card', async (t) => {
      const { heard, port } = await serverOf(t, [nonce('a')], ['{"answer":"noted"}']);
      for (const bootif of ['', '01-52-54-00-12-34-5', '01-"},{"mac":"52-54-00-', '-n', '01-$(reboot)'])
        await ran({ tool, port, bootif, once: '","once":"' }, 'report_refusal stale "It is stale."');
      // The card of this machine is one that no report is of.
      for (const { method, url, body } of heard) {
        if (method === 'GET') assert.equal(url, '/api/v1/boots/nonce?mac=00:00:00:00:00:00');
        else
          assert.match(
            body,
            /^\{"mac":"00:00:00:00:00:00","nonce":"a{32}","outcome":"refused","code":"stale",/,
          );
      }
      assert.equal(heard.length, 10);
    });
  });
}
