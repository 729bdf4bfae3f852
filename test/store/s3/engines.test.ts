import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { refuse, type StubTrick } from '../../../lab/s3-stub.ts';
import { IoError } from '../../../src/errors/io.ts';
import { UsageError } from '../../../src/errors/usage.ts';
import { MAX_RECORD } from '../../../src/store/backend.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { refused } from '../../trust/judge.ts';
import { backendContract } from '../backend-contract.ts';
import { HASTY, SECRET, stubState } from './stubs.ts';

const bytes = (text: string) => Buffer.from(text);
const md5 = (content: Uint8Array) => createHash('md5').update(content).digest('hex');

/** An `IoError` that says this, and no credential. */
function fault(says: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof IoError, inspect(error));
    assert.match(error.message, says);
    assert.match(error.message, /^[^\n]*\.$/);
    assert.ok(!inspect(error).includes(SECRET));
    return true;
  };
}

for (const ifMatch of ['quoted', 'bare'] as const)
  backendContract(`an engine that takes ETags ${ifMatch}, three names on a page,`, async () => {
    const { backend } = await stubState({ ifMatch, page: 3 });
    return backend;
  });

describe('an engine that keeps no conditions is refused by name, and read from', () => {
  const cases = [
    [{ ifNoneMatch: 'ignored' }, /does not keep If-None-Match/],
    [{ ifNoneMatch: 'unknown' }, /does not know If-None-Match/],
    [{ ifMatch: 'ignored' }, /does not keep If-Match/],
    [{ ifMatch: 'refused' }, /refuses If-Match also with the ETag/],
  ] as const;
  for (const [habits, says] of cases)
    it(JSON.stringify(habits), async () => {
      const { stub, backend } = await stubState(habits);
      const named = (error: unknown) => {
        assert.ok(error instanceof UsageError, inspect(error));
        assert.match(error.message, says);
        assert.ok(error.message.includes(`${stub.endpoint} (stub)`), error.message);
        return true;
      };
      await assert.rejects(backend.demandConditions(), named);
      await assert.rejects(backend.putIfAbsent('a', bytes('1')), named);
      await assert.rejects(backend.compareAndSwap('a', md5(bytes('1')), bytes('2')), named);
      assert.deepEqual([...stub.objects.keys()], []);
      stub.set('state/a', bytes('1'));
      assert.equal(Buffer.from((await backend.get('a'))?.bytes ?? []).toString(), '1');
    });
});

it('an engine is tried once, however many write', async () => {
  const { stub, backend } = await stubState();
  const keys = ['a', 'b', 'c', 'd'];
  await Promise.all(keys.map((key) => backend.putIfAbsent(key, bytes(key))));
  const probes = stub.asked.filter((asked) => asked.startsWith('DELETE state/probe-'));
  assert.equal(probes.length, 1);
  assert.deepEqual(
    [...stub.objects.keys()].sort(),
    keys.map((key) => `state/${key}`),
  );
});

describe('only NoSuchKey means that a key is not there', () => {
  const cases: readonly [string, StubTrick, RegExp][] = [
    ['no bucket', (request) => say(request, 404, 'NoSuchBucket'), /there is no bucket "lab" at http:/],
    [
      'no access',
      (request) => say(request, 403, 'AccessDenied'),
      /denies access to the bucket "lab" \((AccessDenied|403)\)/,
    ],
    [
      'ended',
      (request) => say(request, 400, 'ExpiredToken'),
      /no longer good at .*\(ExpiredToken\)|answers 400/,
    ],
    ['busy', (request) => say(request, 503, 'SlowDown'), /answers 503( \(SlowDown\))?, also after 4 tries/],
    [
      'broken',
      (request) => say(request, 500, 'InternalError'),
      /answers 500( \(InternalError\))?, also after 4 tries/,
    ],
    ['moved', (request) => say(request, 301, 'PermanentRedirect'), /in another region/],
    ['silly', (request) => say(request, 418, 'x y\n<b>'), /answers 418/],
    ['page', html, /answers with/],
    ['hang up', (request) => hangUp(request), /cannot be reached \(ECONNRESET\), also after 4 tries/],
  ];
  for (const [name, trick, says] of cases)
    it(name, async () => {
      const { stub, backend } = await stubState();
      await backend.demandConditions();
      stub.set('state/k', bytes('1'));
      stub.trick = trick;
      if (name !== 'page') await assert.rejects(backend.get('k'), fault(says));
      await assert.rejects(backend.list('k'), fault(says));
      await assert.rejects(backend.facts('k'), fault(says));
      await assert.rejects(backend.open('k'), fault(says));
      await assert.rejects(backend.copy('k', 'l'), fault(says));
      await assert.rejects(backend.put('k', bytes('2')), fault(says));
      await assert.rejects(backend.putIfAbsent('k', bytes('2')), fault(says));
      await assert.rejects(backend.compareAndSwap('k', md5(bytes('1')), bytes('2')), fault(says));
      assert.equal(stub.objects.get('state/k')?.bytes.toString(), '1');
    });
});

it('a page of HTML in the place of a record is no record', async () => {
  const { stub, backend } = await stubState();
  stub.trick = html;
  await assert.rejects(backend.get('k'), fault(/no ETag that stands for the content/));
});

it('503 twice is waited for', async () => {
  const { stub, backend } = await stubState();
  let times = 0;
  stub.trick = (request) => ++times <= 2 && say(request, 503, 'SlowDown');
  await backend.put('k', bytes('1'));
  assert.equal(times, 3);
});

describe('an engine that is silent, or never done, is not waited for for ever', () => {
  it('silent', async () => {
    const { stub, backend } = await stubState({}, HASTY);
    stub.trick = () => true;
    const says = fault(/does not answer in time/);
    await assert.rejects(backend.get('k'), says);
    await assert.rejects(backend.list(''), says);
    await assert.rejects(backend.put('k', bytes('1')), says);
  });

  it('one byte now and then', async () => {
    const { stub, backend } = await stubState({}, HASTY);
    stub.trick = ({ response }) => {
      response.writeHead(200, { 'Content-Type': 'application/xml' });
      const timer = setInterval(() => response.write(' '), 20);
      response.once('close', () => clearInterval(timer));
      return true;
    };
    await assert.rejects(backend.list(''), fault(/does not answer in time/));
  });

  it('a list without an end', async () => {
    const { stub, backend } = await stubState();
    stub.trick = ({ response }) => {
      response.writeHead(200, { 'Content-Type': 'application/xml' });
      endless(response, '<ListBucketResult>', '<Contents><Key>state/a</Key></Contents>');
      return true;
    };
    await assert.rejects(backend.list(''), fault(/more than 8388608 bytes/));
  });

  it('an error without an end', async () => {
    const { stub, backend } = await stubState();
    stub.trick = ({ response }) => {
      response.writeHead(404, { 'Content-Type': 'application/xml' });
      endless(response, '<Error><Code>NoSuchKey</Code>', '<Message>no</Message>');
      return true;
    };
    await assert.rejects(backend.get('k'), fault(/more than 8388608 bytes/));
  });

  it('a list that comes again and again', async () => {
    const { stub, backend } = await stubState();
    const page = (token: string) =>
      `<ListBucketResult><Name>lab</Name><IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken></ListBucketResult>`;
    let pages = 0;
    stub.trick = ({ response }) => {
      response.end(page('same'));
      return true;
    };
    await assert.rejects(backend.list('a'), fault(/a list that does not go on/));
    stub.trick = ({ response }) => {
      response.end(page(`token-${++pages}`));
      return true;
    };
    await assert.rejects(backend.list('a'), refused('too-large', /more than 100000 names/));
    assert.equal(pages, 1000);
  });

  it('a record without an end, and one that is too long', async () => {
    const { stub, backend } = await stubState();
    stub.trick = ({ response }) => {
      response.writeHead(200, { ETag: '"1"' });
      endless(response, '', 'x'.repeat(1000));
      return true;
    };
    await assert.rejects(backend.get('k'), fault(/content of no known length/));
    stub.trick = ({ response }) => {
      response.writeHead(200, { ETag: '"1"', 'Content-Length': MAX_RECORD + 1 });
      endless(response, '', 'x'.repeat(1000));
      return true;
    };
    await assert.rejects(backend.get('k'), refused('too-large', /no record is that long/));
  });
});

it('a list of other keys than were asked for is none', async () => {
  const { stub, backend } = await stubState();
  stub.trick = ({ response }) => {
    response.end(
      '<ListBucketResult><Name>lab</Name><IsTruncated>false</IsTruncated><Contents><Key>other/a</Key></Contents></ListBucketResult>',
    );
    return true;
  };
  await assert.rejects(backend.list('a'), fault(/keys that it was not asked for/));
});

it('keys that another program wrote are passed over in lists', async () => {
  const { stub, backend } = await stubState();
  for (const key of ['a/', 'a/b', 'a/x y', 'a/.hidden', 'a/ä/z', 'a//b', 'a/-x', 'a/c+d/e', 'a/..', 'a/100%'])
    stub.set(`state/${key}`, bytes('1'));
  assert.deepEqual(await backend.list('a'), ['b', 'c+d/']);
  assert.deepEqual([...(await backend.versionsBelow('a')).keys()], ['a/b', 'a/c+d/e']);
});

describe('an answer that is cut short', () => {
  const cut =
    (times: { left: number }): StubTrick =>
    ({ response, method, key }) => {
      if (method !== 'GET' || key === '' || times.left-- <= 0) return false;
      response.writeHead(200, {
        ETag: '"1"',
        'Last-Modified': new Date(0).toUTCString(),
        'Content-Length': 10,
      });
      response.write('12345');
      setImmediate(() => response.destroy());
      return true;
    };
  it('is asked for again', async () => {
    const { stub, backend } = await stubState();
    stub.set('state/k', bytes('1234567890'));
    stub.trick = cut({ left: 2 });
    assert.equal(Buffer.from((await backend.get('k'))?.bytes ?? []).toString(), '1234567890');
  });
  it('and reported where that does not help', async () => {
    const { stub, backend } = await stubState();
    stub.set('state/k', bytes('1234567890'));
    stub.trick = cut({ left: 100 });
    await assert.rejects(backend.get('k'), fault(/ends its answers before they are whole/));
  });
});

describe('a conditional write whose answer was lost', () => {
  it('was ours, if what is there bears our mark', async () => {
    const { stub, backend } = await stubState();
    await backend.demandConditions();
    let lost = 0;
    stub.lose = () => ++lost === 1;
    assert.equal(await backend.putIfAbsent('k', bytes('1')), true);
    const one = await backend.get('k');
    lost = 0;
    assert.equal(await backend.compareAndSwap('k', one?.version, bytes('2')), true);
    assert.equal(stub.objects.get('state/k')?.bytes.toString(), '2');
  });

  it('was not, where somebody else wrote the very same', async () => {
    const { stub, backend } = await stubState();
    await backend.demandConditions();
    let times = 0;
    stub.trick = ({ method, message }) => {
      if (method !== 'PUT' || ++times > 1) return false;
      stub.set('state/k', bytes('1'), { 'x-amz-meta-bootseal-write': 'another' });
      message.socket.destroy();
      return true;
    };
    assert.equal(await backend.putIfAbsent('k', bytes('1')), false);
    assert.equal(times > 1, true);
  });

  it('is a fault, where nobody can say', async () => {
    const { stub, backend } = await stubState();
    await backend.demandConditions();
    stub.trick = ({ message }) => {
      message.socket.destroy();
      return true;
    };
    await assert.rejects(backend.putIfAbsent('k', bytes('1')), fault(/cannot be reached/));
  });

  it('is a fault, too, where it was repeated, refused, and nobody can look whose it was', async () => {
    const { stub, backend } = await stubState();
    await backend.demandConditions();
    let lost = 0;
    stub.lose = ({ method }) => method === 'PUT' && ++lost === 1;
    stub.trick = (request) => lost > 0 && request.method === 'GET' && say(request, 500, 'InternalError');
    await assert.rejects(backend.putIfAbsent('k', bytes('1')), fault(/./));
    assert.equal(stub.objects.get('state/k')?.bytes.toString(), '1');
  });

  it('two at once (409) are told apart by asking again', async () => {
    const { stub, backend } = await stubState();
    await backend.demandConditions();
    let times = 0;
    stub.trick = (request) =>
      request.method === 'PUT' && ++times === 1 && say(request, 409, 'ConditionalRequestConflict');
    assert.equal(await backend.putIfAbsent('k', bytes('1')), true);
    assert.equal(times, 2);
  });
});

it('what was swapped for nothing is nowhere, though its mark stays', async () => {
  const { stub, backend } = await stubState();
  await backend.put('a/k', bytes('1'));
  await backend.put('a/l', bytes('1'));
  const one = await backend.get('a/k');
  assert.equal(await backend.compareAndSwap('a/k', one?.version, undefined), true);
  assert.ok(stub.objects.has('state/a/k'));
  assert.equal(await backend.get('a/k'), undefined);
  assert.equal(await backend.open('a/k'), undefined);
  assert.equal(await backend.facts('a/k'), undefined);
  assert.equal(await backend.copy('a/k', 'a/m'), false);
  assert.deepEqual(await backend.list('a'), ['l']);
  assert.deepEqual([...(await backend.versionsBelow('a')).keys()], ['a/l']);
  const won = await Promise.all([1, 2, 3, 4].map((n) => backend.putIfAbsent('a/k', bytes(`again ${n}`))));
  assert.equal(won.filter(Boolean).length, 1);
  assert.equal(
    Buffer.from((await backend.get('a/k'))?.bytes ?? []).toString(),
    `again ${won.indexOf(true) + 1}`,
  );
});

it('an engine whose ETags are no digests: a mark is known by its content', async () => {
  const { stub, backend } = await stubState();
  await backend.put('a/k', bytes('1'));
  const one = await backend.get('a/k');
  assert.equal(await backend.compareAndSwap('a/k', one?.version, undefined), true);
  const mark = stub.objects.get('state/a/k');
  assert.ok(mark);
  stub.objects.set('state/a/k', { ...mark, etag: 'opaque-1' });
  stub.set('state/a/l', Buffer.alloc(mark.bytes.length, 'l'));
  assert.deepEqual(await backend.list('a'), ['l']);
  assert.equal(await backend.putIfAbsent('a/k', bytes('2')), true);
});

describe('content that is open', () => {
  it('is not read on when it was replaced or taken away', async () => {
    const { stub, backend } = await stubState();
    stub.set('state/k', bytes('0123456789'));
    const opened = await backend.open('k');
    assert.ok(opened);
    const buffer = Buffer.alloc(4);
    assert.equal(await opened.read(buffer, 0), 4);
    stub.set('state/k', bytes('9876543210'));
    await assert.rejects(opened.read(buffer, 4), fault(/was replaced while it was read/));
    stub.objects.delete('state/k');
    await assert.rejects(opened.read(buffer, 4), fault(/was taken away while it was read/));
  });

  it('comes as the range that was asked for, or not at all', async () => {
    const { stub, backend } = await stubState();
    const { etag } = stub.set('state/k', bytes('0123456789'));
    const opened = await backend.open('k');
    assert.ok(opened);
    const answers =
      (status: number, headers: Record<string, string>, body: string): StubTrick =>
      ({ response }) => {
        response
          .writeHead(status, { ETag: `"${etag}"`, 'Content-Length': body.length, ...headers })
          .end(body);
        return true;
      };
    const buffer = Buffer.alloc(4);
    stub.trick = answers(200, {}, '0123456789');
    await assert.rejects(opened.read(buffer, 4), fault(/another range/));
    stub.trick = answers(206, { 'Content-Range': 'bytes 0-3/10' }, '0123');
    await assert.rejects(opened.read(buffer, 4), fault(/another range/));
    stub.trick = answers(206, { 'Content-Range': 'bytes 4-7/10' }, '45');
    await assert.rejects(opened.read(buffer, 4), fault(/another length/));
  });
});

describe('a file on its way into a bucket', () => {
  const size = 3 * 1024 * 1024 + 17;
  async function file() {
    const source = join(await temporaryFolder(), 'image');
    const content = Buffer.alloc(size, 'image');
    await writeFile(source, content);
    return { source, name: 'image', size, sha256: createHash('sha256').update(content).digest('hex') };
  }

  it('is sent with its digests, and again where the engine was busy', async () => {
    const { stub, backend } = await stubState();
    const image = await file();
    const seen: unknown[] = [];
    stub.trick = (request) => {
      seen.push(request.message.headers['x-amz-content-sha256']);
      return seen.length === 1 && say(request, 503, 'SlowDown');
    };
    await backend.putFile('k', image);
    assert.deepEqual(seen, [image.sha256, image.sha256]);
    assert.equal(stub.objects.get('state/k')?.bytes.length, size);
  });

  it('never arrives whole where it changes while it is sent', async () => {
    const { stub, backend } = await stubState();
    const image = await file();
    stub.trick = async () => {
      await writeFile(image.source, Buffer.alloc(size, 'other'));
      return false;
    };
    await assert.rejects(backend.putFile('k', image), refused('drifted', /image changed/));
    assert.deepEqual([...stub.objects.keys()], []);
  });

  it('is not sent at all where the bucket refuses it, and where it is too large', async () => {
    const { stub, backend } = await stubState();
    const image = await file();
    stub.trick = (request) => say(request, 403, 'AccessDenied');
    await assert.rejects(backend.putFile('k', image), fault(/denies access/));
    const large = { ...image, size: 5 * 1024 ** 3 + 1 };
    await assert.rejects(backend.putFile('k', large), refused('too-large', /takes 5368709120 in one piece/));
  });
});

function say(request: Parameters<StubTrick>[0], status: number, code: string): true {
  refuse(request, status, code);
  return true;
}

function html({ message, response, method }: Parameters<StubTrick>[0]): true {
  message.resume();
  const body = '<!DOCTYPE html><html><body><h1>Welcome</h1></body></html>';
  response.writeHead(200, { 'Content-Type': 'text/html', 'Content-Length': body.length });
  response.end(method === 'HEAD' ? undefined : body);
  return true;
}

function hangUp({ message }: Parameters<StubTrick>[0]): true {
  message.socket.destroy();
  return true;
}

/** Writes as fast as it is read, until nobody does. */
function endless(response: Parameters<StubTrick>[0]['response'], first: string, piece: string): void {
  response.write(first);
  const more = () => {
    while (!response.destroyed && response.write(piece.repeat(100)));
  };
  response.on('drain', more);
  response.on('error', () => {});
  more();
}
