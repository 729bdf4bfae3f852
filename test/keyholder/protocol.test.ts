import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../src/errors/malformed.ts';
import {
  decodeAnswer,
  decodeRequest,
  encodeAnswer,
  encodeRequest,
  type KeyholderAnswer,
  MAX_LINE,
} from '../../src/keyholder/protocol.ts';

const malformed = (fact: RegExp) => (error: unknown) =>
  error instanceof Malformed && fact.test(error.message);
const RENEW = '{"bootseal-keyholder":1,"ask":"renew","channel":"stable"}\n';

describe('a request', () => {
  it('is one line that says facts', () => {
    assert.equal(Buffer.from(encodeRequest({ ask: 'renew', channel: 'stable' })).toString(), RENEW);
    for (const facts of [
      { ask: 'renew', channel: 'stable' },
      { ask: 'move', channel: 'stable', release: 'arch/2026.11.01' },
      { ask: 'publish', channel: 'stable', tree: '/srv/out/netboot' },
      { ask: 'checkpoint' },
      { ask: 'apply', channel: 'stable', by: 'lab-ci' },
      { ask: 'disarm', mac: '52:54:00:00:00:0a', by: 'lab-ci' },
      {
        ask: 'assign',
        mac: '52:54:00:00:00:0a',
        assigned: { labels: ['readers'], gets: { boot: 'release', channel: 'next', words: [] } },
      },
      { ask: 'assign', mac: '52:54:00:00:00:0a' },
      { ask: 'withdraw', release: 'arch/2026.11.01', reason: 'It loses data.', cutRunning: false },
    ] as Parameters<typeof encodeRequest>[0][])
      assert.deepEqual(decodeRequest(encodeRequest(facts)), { 'bootseal-keyholder': 1, ...facts });
  });

  for (const [what, line, fact] of [
    ['a key that is unknown', RENEW.replace('}', ',"text":"x"}'), /"text" is no key that is known/],
    ['a digest', RENEW.replace('}', `,"sha256":"${'0'.repeat(64)}"}`), /is no key that is known/],
    ['an ask that is unknown', RENEW.replace('renew', 'sign'), /ask: /],
    ['a key that is missing', '{"bootseal-keyholder":1,"ask":"move","channel":"stable"}\n', /release: /],
    ['another format', RENEW.replace('1', '2'), /of format 2; this Bootseal knows 1/],
    ['no format', RENEW.replace('"bootseal-keyholder":1,', ''), /of format none/],
    ['a format that is text', RENEW.replace('1', '"1"'), /of format "1"/],
    ['a key that stands twice', RENEW.replace('}', ',"channel":"next"}'), /in another way/],
    ['another order', '{"ask":"checkpoint","bootseal-keyholder":1}\n', /in another way/],
    ['blanks', RENEW.replace(':1', ': 1'), /in another way/],
    ['a name that no token has', RENEW.replace('}', ',"by":"a b"}'), /by: no name of a token/],
    [
      'an assignment that says nothing',
      '{"bootseal-keyholder":1,"ask":"assign","mac":"52:54:00:00:00:0a","assigned":{}}\n',
      /assigned: has neither labels nor gets/,
    ],
    [
      'a text of a file',
      '{"bootseal-keyholder":1,"ask":"assign","mac":"52:54:00:00:00:0a","assigned":{"text":"x"}}\n',
      /assigned: /,
    ],
    ['an escape', RENEW.replace('stable', '\\u0073table'), /in another way/],
    ['a path for a channel', RENEW.replace('stable', '../stable'), /channel: no name of a channel/],
    ['a line end in a channel', RENEW.replace('stable', 'a\\nb'), /channel: /],
    [
      'a release that is none',
      '{"bootseal-keyholder":1,"ask":"move","channel":"a","release":"b"}\n',
      /release: no NAME/,
    ],
    ...['netboot', '/srv/../etc', '/srv/out/', '/a\\nb', ''].map(
      (tree) =>
        [
          `${JSON.stringify(tree)} for a tree`,
          `{"bootseal-keyholder":1,"ask":"publish","channel":"a","tree":"${tree}"}\n`,
          /tree: no absolute path/,
        ] as const,
    ),
    ['a list', '[]\n', /of format none/],
    ['nothing', '\n', /no JSON/],
    ['no end', RENEW.slice(0, -1), /without its end/],
    ['two lines', RENEW + RENEW, /no JSON/],
    ['too much', `${' '.repeat(MAX_LINE)}\n`, /longer than 16384 bytes/],
    [
      'a key of objects',
      RENEW.replace('}', ',"__proto__":{"x":1}}'),
      /is no key that is known|in another way/,
    ],
  ] as const) {
    it(`with ${what} is malformed`, () => {
      assert.throws(() => decodeRequest(Buffer.from(line)), malformed(fact));
    });
  }

  it('cut anywhere is malformed', () => {
    for (let length = 0; length < RENEW.length; length += 1)
      assert.throws(() => decodeRequest(Buffer.from(RENEW.slice(0, length))), Malformed);
  });
});

describe('an answer', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('absent', 'expired', 'no-verdict'),
        fc.string({ minLength: 1, maxLength: 300 }),
        fc.dictionary(fc.string({ maxLength: 10 }), fc.oneof(fc.string(), fc.integer(), fc.boolean()), {
          maxKeys: 5,
        }),
        (code, message, facts) => {
          fc.pre(!Object.keys(facts).some((name) => name === '__proto__' || /^\d+$/.test(name)));
          const answer: KeyholderAnswer = {
            'bootseal-keyholder': 1,
            answer: 'refused',
            code: code as 'absent',
            message,
            facts: { ...facts },
          };
          assert.deepEqual(decodeAnswer(encodeAnswer(answer)), answer);
        },
      ),
    );
  });

  it('that would be too long says less', () => {
    const long = 'ü'.repeat(5000);
    const usage = decodeAnswer(encodeAnswer({ 'bootseal-keyholder': 1, answer: 'usage', message: long }));
    assert.equal('message' in usage && usage.message, `${long.slice(0, 1997)}...`);
    const moved = decodeAnswer(
      encodeAnswer({
        'bootseal-keyholder': 1,
        answer: 'done',
        did: 'moved',
        snapshot: 'x',
        key: '0'.repeat(64),
        warnings: Array.from({ length: 20 }, () => '\u0001'.repeat(5000)),
      }),
    );
    assert.deepEqual('warnings' in moved ? moved.warnings : undefined, []);
    const signed = encodeAnswer({
      'bootseal-keyholder': 1,
      answer: 'done',
      did: 'signed',
      size: 900,
      signed: 900,
      entries: Array.from({ length: 900 }, () => 'x'.repeat(500)),
    });
    assert.ok(signed.length <= MAX_LINE);
    const refused = decodeAnswer(
      encodeAnswer({
        'bootseal-keyholder': 1,
        answer: 'refused',
        code: 'absent',
        message: 'No.',
        facts: Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`f${index}`, 'x'.repeat(400)])),
      }),
    );
    assert.deepEqual('facts' in refused ? refused.facts : undefined, {});
  });
});
