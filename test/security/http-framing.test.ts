import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, raw, serving } from '../serve/http/harness.ts';
import { WAYS } from '../serve/sites.ts';

const FILES = { '/f': 'the file', '/other': 'smuggled' };
const HIDDEN = 'GET /other HTTP/1.1\r\nHost: x\r\n\r\n';

/** Requests whose end two readers could see at different places. */
const SMUGGLED: Readonly<Record<string, string>> = {
  'two lengths that differ': `GET /f HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'a length and chunks': `GET /f HTTP/1.1\r\nHost: x\r\nContent-Length: ${HIDDEN.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'chunks by another name': `GET /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'a length with a sign': `GET /f HTTP/1.1\r\nHost: x\r\nContent-Length: +${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'a space before the colon': `GET /f HTTP/1.1\r\nHost: x\r\nContent-Length : ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'a folded line': `GET /f HTTP/1.1\r\nHost: x\r\nX: a\r\n Content-Length: 3\r\n\r\n`,
  'a bare line feed in the header': `GET /f HTTP/1.1\nHost: x\nContent-Length: ${HIDDEN.length}\n\n${HIDDEN}`,
  'a NUL in a field': `GET /f HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n`,
  'no Host': 'GET /f HTTP/1.1\r\n\r\n',
  'not HTTP at all': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
};

for (const [way, siteOf] of WAYS) {
  for (const [what, bytes] of Object.entries(SMUGGLED)) {
    test(`${what}: one refusal, and nothing hidden is answered, ${way}`, async (t) => {
      const tested = siteOf(FILES);
      const server = await serving(t, tested);
      const text = await raw(t, server.port, Buffer.from(bytes, 'latin1'));
      assert.match(text, /^HTTP\/1\.1 4\d\d /);
      assert.equal(text.match(/HTTP\/1\.1 \d/g)?.length, 1, text);
      assert.doesNotMatch(text, /smuggled|the file/);
      assert.deepEqual([tested.trace.found, tested.trace.held], [[], 0]);
    });
  }

  test(`a body on GET or HEAD is refused, announced or chunked, and the connection ends there, ${way}`, async (t) => {
    const tested = siteOf(FILES);
    const server = await serving(t, tested);
    for (const method of ['GET', 'HEAD']) {
      for (const field of [`Content-Length: ${HIDDEN.length}`, 'Transfer-Encoding: chunked']) {
        const body = field.startsWith('C')
          ? HIDDEN
          : `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`;
        const text = await raw(t, server.port, `${method} /f HTTP/1.1\r\nHost: x\r\n${field}\r\n\r\n${body}`);
        assert.match(text, /^HTTP\/1\.1 413 /, `${method} ${field}`);
        assert.equal(text.match(/HTTP\/1\.1 \d/g)?.length, 1);
      }
    }
    assert.deepEqual([tested.trace.found, tested.trace.held], [[], 0]);
    assert.equal((await ask(server.port, '/f', { headers: { 'Content-Length': '0' } })).status, 200);
  });

  test(`Expect: 100-continue does not make the server ask for a body it will refuse, ${way}`, async (t) => {
    const server = await serving(t, siteOf(FILES));
    const text = await raw(
      t,
      server.port,
      'GET /f HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n',
    );
    assert.match(text, /^HTTP\/1\.1 413 /);
  });

  test(`whoever expects anything else is refused, told of and counted, once, and nothing behind it is answered, ${way}`, async (t) => {
    const tested = siteOf(FILES);
    const server = await serving(t, tested);
    for (const method of ['GET', 'POST']) {
      const request = `${method} /f HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n`;
      const text = await raw(t, server.port, request.repeat(5));
      assert.match(text, /^HTTP\/1\.1 417 /);
      assert.equal(text.match(/HTTP\/1\.1 \d/g)?.length, 1);
      const told = await server.event('answered', (event) => event.method === method);
      assert.deepEqual([told.status, told.asked], [417, '/f']);
    }
    assert.deepEqual([tested.trace.found, tested.trace.held], [[], 0]);
  });

  test(`an upgrade or a tunnel is not taken up, ${way}`, async (t) => {
    const server = await serving(t, siteOf(FILES));
    const upgrade = 'Connection: Upgrade, close\r\nUpgrade: h2c\r\n';
    assert.match(
      await raw(t, server.port, `GET /f HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`),
      /^HTTP\/1\.1 200 /,
    );
    assert.equal(await raw(t, server.port, 'CONNECT x:22 HTTP/1.1\r\nHost: x\r\n\r\n'), '');
  });

  test(`garbage behind a request cannot put an error page into a file, ${way}`, async (t) => {
    const data = Buffer.alloc(8_000_000, 'd');
    const server = await serving(t, siteOf({ '/big': data }));
    const text = await raw(t, server.port, 'GET /big HTTP/1.1\r\nHost: x\r\n\r\n\0\0\0\0');
    assert.equal(text.match(/HTTP\/1\.1 \d/g)?.length ?? 0, text === '' ? 0 : 1);
    assert.equal(server.errors.length, 0);
  });

  test(`a flood of pipelined requests opens no files and ends the connection, ${way}`, async (t) => {
    const tested = siteOf({ '/big': Buffer.alloc(30_000_000) });
    const server = await serving(t, tested);
    await raw(t, server.port, 'GET /big HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000));
    assert.equal((await server.event('turned-away')).reason, 'too-many-requests');
    assert.equal(server.events.filter(({ kind }) => kind === 'turned-away').length, 1, 'told once');
    await tested.allClosed();
    assert.ok(tested.trace.opened <= 1, String(tested.trace.opened));
    assert.equal(server.heldBytes, 0);
  });
}
