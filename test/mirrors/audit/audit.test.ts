import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { decodeMirrorHealth } from '../../../src/formats/records/mirror-health.ts';
import { type AuditOptions, audit, encodeHealth } from '../../../src/mirrors/audit/audit.ts';
import type { MirrorRow } from '../../../src/mirrors/audit/audit-mirror.ts';
import { serve } from '../../../src/server/serve.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { copyState, DAY, flipByte, mirrorSite, NEW, OLD } from '../../fixtures/mirror-site.ts';
import { KERNEL, ROOTFS } from '../../fixtures/release.ts';

const folder = await temporaryFolder();
const site = await mirrorSite(folder);
const BLOCK = 4096;
const IMAGE = `releases/${NEW}/${ROOTFS}`;
/** All blocks, in one range each. */
const all = { share: 1, rangeBytes: BLOCK };

type Trick = (path: string, res: ServerResponse, req: IncomingMessage) => boolean;

/** A web server over a mirror's folder; `trick` answers what it likes instead. @returns its address. */
async function mirror(t: TestContext, root: string, trick: Trick = () => false): Promise<string> {
  const server = createServer((req, res) => {
    const path = decodeURIComponent(req.url ?? '').slice(1);
    if (trick(path, res, req)) return;
    sendFile(root, path, req, res);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

function sendFile(root: string, path: string, req: IncomingMessage, res: ServerResponse): void {
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(root, path));
  } catch {
    res.writeHead(404).end('no\n');
    return;
  }
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? '') ?? [];
  if (first === undefined) {
    res.writeHead(200, { 'Content-Length': bytes.length }).end(bytes);
    return;
  }
  const part = bytes.subarray(Number(first), Number(last) + 1);
  res
    .writeHead(206, {
      'Content-Length': part.length,
      'Content-Range': `bytes ${first}-${last}/${bytes.length}`,
    })
    .end(part);
}

const base = { channel: 'stable', anchors: site.anchors, now: site.now };

async function rowOf(t: TestContext, trick: Trick, options: Partial<AuditOptions> = {}): Promise<MirrorRow> {
  const url = await mirror(t, site.fresh, trick);
  const { rows } = await audit({ ...base, mirrors: [url], slowAfterMs: 5000, ...options });
  return rows[0] as MirrorRow;
}

/** A part of the image is asked for. */
const asksImage = (path: string) => path === IMAGE;

describe('an honest mirror', () => {
  it('is verified at each depth, over a plain web server and over ours', async (t) => {
    const plain = await mirror(t, site.fresh);
    const ours = await serve({
      state: site.fresh,
      anchors: site.anchors,
      clock: () => site.now,
      httpPort: 0,
      tftpPort: false,
      nbdPort: false,
    });
    t.after(() => ours.close(0));
    const read: number[] = [];
    for (const depth of ['freshness', 'sampled', 'complete'] as const) {
      const report = await audit({ ...base, mirrors: [plain, `${ours.url}/`], depth });
      assert.deepEqual(
        report.rows.map(({ verdict, why }) => [verdict, why]),
        [
          ['verified', ''],
          ['verified', ''],
        ],
      );
      read.push(report.rows[0]?.bytes ?? 0);
      const health = decodeMirrorHealth(encodeHealth(report));
      assert.equal(health.mirrors[0]?.releases[0]?.release, depth === 'freshness' ? undefined : NEW);
    }
    assert.deepEqual(
      read,
      [...read].sort((a, b) => a - b),
    );
  });

  it('is stale by its own end, however new it is among the others', async (t) => {
    const { rows } = await audit({
      ...base,
      mirrors: [await mirror(t, site.fresh)],
      now: site.now + 9 * DAY,
    });
    assert.deepEqual([rows[0]?.verdict, rows[0]?.endedDays, rows[0]?.behindDays], ['stale', 3, 0]);
    assert.match(rows[0]?.why ?? '', /snapshot 2 ended 3 days ago/);
  });

  it('may lag as far as it is said', async (t) => {
    const mirrors = [await mirror(t, site.fresh), await mirror(t, site.stale)];
    const verdicts = async (lagMs: number) =>
      (await audit({ ...base, mirrors, lagMs })).rows.map((row) => row.verdict);
    assert.deepEqual(await verdicts(2 * DAY), ['verified', 'stale']);
    assert.deepEqual(await verdicts(4 * DAY), ['verified', 'verified']);
  });
});

describe('a mirror that changed something', () => {
  const changed = async (path: string, at: number) => {
    const copy = await copyState(site.fresh, join(folder, `changed-${path.replaceAll('/', '-')}-${at}`));
    await flipByte(join(copy, path), at);
    return copy;
  };
  const drifts = async (t: TestContext, root: string, options: Partial<AuditOptions>) => {
    const { rows } = await audit({ ...base, mirrors: [await mirror(t, root)], ...options });
    assert.equal(rows[0]?.verdict, 'drifted', rows[0]?.why);
    return rows[0]?.drifted.map(({ path, block }) => [path, block]);
  };

  it('is not told by name that it is an audit that asks', async (t) => {
    const agents = new Set<string | undefined>();
    const row = await rowOf(t, (path, res, req) => {
      agents.add(req.headers['user-agent']);
      if (!asksImage(path) || /audit/i.test(req.headers['user-agent'] ?? '')) return false;
      res.writeHead(404).end();
      return true;
    });
    assert.equal(row.verdict, 'drifted');
    // As another mirror that pulls says of itself.
    assert.deepEqual([...agents], ['bootseal']);
  });

  it('is sent no machine by an audit that looked at its snapshot alone', async (t) => {
    const root = await copyState(site.fresh, join(folder, 'unlooked'));
    await rm(join(root, 'releases'), { recursive: true });
    const report = await audit({ ...base, mirrors: [await mirror(t, root)], depth: 'freshness' });
    assert.equal(report.rows[0]?.verdict, 'verified');
    assert.deepEqual(decodeMirrorHealth(encodeHealth(report)).mirrors[0]?.releases, []);
  });

  it('is drifted in that block, where it is drawn, and only there', async (t) => {
    const root = await changed(IMAGE, 40 * BLOCK + 5);
    assert.deepEqual(await drifts(t, root, all), [[IMAGE, 40]]);
    assert.deepEqual(await drifts(t, root, { depth: 'complete' }), [[IMAGE, 40]]);
    // Floyd's algorithm: the last number that may be drawn, or its own throw.
    const drawing = (block: number) => ({ ...all, share: 1 / 64, random: () => block });
    assert.deepEqual(await drifts(t, root, drawing(40)), [[IMAGE, 40]]);
    const { rows } = await audit({ ...base, mirrors: [await mirror(t, root)], ...drawing(41) });
    assert.equal(rows[0]?.verdict, 'verified');
    assert.equal(rows[0]?.sampled[0]?.caught, 1 / 64);
  });

  it('is drifted in its hash tree, in a seal, in a record, in a kernel', async (t) => {
    const tree = await changed(`${IMAGE}.verity`, BLOCK + 9);
    assert.deepEqual(await drifts(t, tree, all), [[`${IMAGE}.verity`, 1]]);
    assert.deepEqual(await drifts(t, tree, { depth: 'complete' }), [[`${IMAGE}.verity`, undefined]]);
    for (const path of [
      `${IMAGE}.cms.sig`,
      `releases/${NEW}/release.manifest`,
      `releases/${NEW}/boot.ipxe.sig`,
    ]) {
      const [first] = (await drifts(t, await changed(path, 200), all)) ?? [];
      assert.ok(path.startsWith(String(first?.[0])), `${path}: ${first}`);
    }
    const kernel = `releases/${NEW}/${KERNEL}`;
    assert.deepEqual(await drifts(t, await changed(kernel, 9000), {}), [[kernel, undefined]]);
    // Only the whole image can tell about its OpenPGP seal.
    const openpgp = await changed(`${IMAGE}.sig`, 200);
    const { rows } = await audit({ ...base, mirrors: [await mirror(t, openpgp)] });
    assert.deepEqual([rows[0]?.verdict, rows[0]?.unjudged], ['verified', [`${IMAGE} (openpgp)`]]);
    assert.deepEqual((await drifts(t, openpgp, { depth: 'complete' }))?.[0], [IMAGE, undefined]);
  });

  it('is drifted where it has somebody else’s release under this name, or has lost a file', async (t) => {
    const other = await copyState(site.fresh, join(folder, 'other'));
    await rm(join(other, 'releases', NEW), { recursive: true });
    await cp(join(other, 'releases', OLD), join(other, 'releases', NEW), { recursive: true });
    assert.deepEqual(await drifts(t, other, {}), [[`releases/${NEW}/release.manifest`, undefined]]);
    const lost = await copyState(site.fresh, join(folder, 'lost'));
    await rm(join(lost, IMAGE));
    assert.deepEqual(await drifts(t, lost, {}), [[IMAGE, undefined]]);
  });
});

describe('a hostile mirror', () => {
  const endless = (res: ServerResponse) => {
    res.writeHead(200, { 'Content-Type': 'application/octet-stream' });
    const more = (): void => {
      if (!res.destroyed && res.write(Buffer.alloc(65_536))) setImmediate(more);
    };
    res.on('drain', more);
    more();
    return true;
  };

  it('that never ends is cut', async (t) => {
    const counter = await rowOf(t, (path, res) => path === 'channels/stable/current' && endless(res));
    assert.deepEqual([counter.verdict, counter.drifted[0]?.path], ['drifted', 'channels/stable/current']);
    const image = await rowOf(t, (path, res) => path === IMAGE && endless(res), { depth: 'complete' });
    assert.deepEqual([image.verdict, image.drifted[0]?.path], ['drifted', IMAGE]);
    assert.ok(counter.bytes < 1e6 && image.bytes < 4e6, `${counter.bytes} ${image.bytes}`);
  });

  it('that says another length, sends another part, or a page, is drifted', async (t) => {
    const long = await rowOf(
      t,
      (path, res) => {
        if (!asksImage(path)) return false;
        res
          .writeHead(206, { 'Content-Length': BLOCK, 'Content-Range': 'bytes 0-4095/8192' })
          .end(Buffer.alloc(BLOCK));
        return true;
      },
      { ...all, share: 1 / 64, random: () => 0 },
    );
    assert.deepEqual([long.verdict, long.drifted[0]?.path], ['drifted', IMAGE]);
    assert.match(long.why, /has 8192 bytes, and 262144 were signed/);
    const lying = await rowOf(
      t,
      (path, res) => {
        if (!asksImage(path)) return false;
        res
          .writeHead(206, { 'Content-Length': BLOCK, 'Content-Range': 'bytes 4096-8191/262144' })
          .end(Buffer.alloc(BLOCK));
        return true;
      },
      { ...all, share: 1 / 64, random: () => 9 },
    );
    assert.match(lying.why, /another part/);
    assert.equal(lying.verdict, 'drifted');
    const page = await rowOf(t, (_path, res) => {
      res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end('<h1>Welcome</h1>');
      return true;
    });
    assert.deepEqual([page.verdict, page.drifted[0]?.path], ['drifted', 'channels/stable/current']);
    assert.match(page.why, /a page of HTML/);
  });

  it('that redirects in a circle, or out of the web, is unreachable', async (t) => {
    for (const location of ['/again', 'file:///etc/passwd', 'gopher://127.0.0.1/']) {
      const row = await rowOf(t, (_path, res) => {
        res.writeHead(302, { Location: location }).end();
        return true;
      });
      assert.equal(row.verdict, 'unreachable', location);
      assert.match(row.why, /redirects|neither http/);
    }
  });

  it('that breaks off is unreachable, and one that waits or drips is slow', async (t) => {
    const short = await rowOf(
      t,
      (path, res) => {
        if (path !== IMAGE) return false;
        res.writeHead(200, { 'Content-Length': 262_144 });
        res.write(Buffer.alloc(1000), () => res.destroy());
        return true;
      },
      { depth: 'complete' },
    );
    assert.equal(short.verdict, 'unreachable', short.why);
    const silent = await rowOf(
      t,
      (path, res) => {
        if (path !== IMAGE) return false;
        res.writeHead(200, { 'Content-Length': 262_144 }).write('x');
        return true;
      },
      { depth: 'complete', slowAfterMs: 200 },
    );
    assert.equal(silent.verdict, 'slow', silent.why);
    let time = 0;
    // A second passes each time that somebody looks at the clock.
    const dripping = await rowOf(t, () => false, {
      ...all,
      monotonic: () => (time += 1000),
      slowAfterMs: 5000,
      slowRate: 1e6,
    });
    assert.equal(dripping.verdict, 'slow', dripping.why);
    assert.match(dripping.why, /bytes a second, and 1000000 are the least/);
  });

  it('that ignores Range is read up to what was drawn, and is verified', async (t) => {
    const row = await rowOf(
      t,
      (path, res, req) => {
        req.headers.range = undefined as never;
        return path === '' && res.destroyed;
      },
      { ...all, share: 2 / 64, random: (limit) => limit - 60 },
    );
    assert.equal(row.verdict, 'verified', row.why);
    assert.equal(row.sampled[0]?.drawn, 2);
  });
});

describe('budgets', () => {
  it('of bytes end an audit that says so', async (t) => {
    const row = await rowOf(t, () => false, { depth: 'complete', maxBytes: 100_000 });
    assert.equal(row.verdict, 'unfinished', row.why);
    assert.ok(row.bytes < 100_000 + 70_000);
  });

  it('of connections hold for many mirrors', async (t) => {
    let open = 0;
    let most = 0;
    const url = await mirror(t, site.fresh, (_path, res, req) => {
      open += 1;
      most = Math.max(most, open);
      res.once('close', () => {
        open -= 1;
      });
      const path = (req.url ?? '').replace(/^\/m\d+\//, '');
      // As far away as it takes for others to ask meanwhile.
      setTimeout(() => sendFile(site.fresh, path, req, res), 2);
      return true;
    });
    const mirrors = Array.from({ length: 60 }, (_, at) => `${url}m${at}/`);
    const { rows } = await audit({ ...base, mirrors, depth: 'sampled', connections: 6, perHost: 5 });
    assert.deepEqual(new Set(rows.map(({ verdict }) => verdict)), new Set(['verified']));
    assert.equal(most, 5);
  });
});

describe('what cannot be meant', () => {
  it('is a usage error', async () => {
    for (const mirrors of [[], ['ftp://a/'], ['http://a/?x=1'], ['http://u:p@a/'], ['http://a', 'http://a/']])
      await assert.rejects(audit({ ...base, mirrors }), { name: 'UsageError' });
  });
});
