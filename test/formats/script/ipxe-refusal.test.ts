import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { manifestOfRefusal } from '../../../src/formats/script/ipxe-refusal.ts';

const DIGEST = 'ab'.repeat(32);
const script = (...lines: string[]) => Buffer.from(`#!ipxe\n${lines.join('\n')}\n`);
const NAMED = `set bootseal-manifest ${DIGEST}`;

describe('a script that starts nothing', () => {
  it('names its manifest in a setting', () => {
    assert.equal(
      manifestOfRefusal(
        script('# why', 'imgfree', NAMED, 'echo REFUSED', 'sleep 30 ||', 'reboot ||', 'exit 1'),
      ),
      DIGEST,
    );
  });

  for (const [what, bytes] of [
    ['fetches', script(NAMED, 'imgfetch http://h/x')],
    ['chains', script(NAMED, 'chain http://h/x ||')],
    ['starts a kernel', script(NAMED, 'kernel http://h/k a', 'boot')],
    ['jumps', script(':again', NAMED, 'goto again')],
    ['asks a person', script(NAMED, 'shell')],
    ['hides its command in a setting', script(NAMED, '$' + '{x} http://h/x')],
    ['names two manifests', script(NAMED, NAMED)],
    ['names none', script('echo hello')],
    ['names what is no digest', script('set bootseal-manifest abc')],
    ['names it in a comment', script(`# ${NAMED}`)],
    ['is no script', Buffer.from(`${NAMED}\n`)],
  ] as const) {
    it(`is none that ${what}`, () => assert.equal(manifestOfRefusal(bytes), undefined));
  }
});
