import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeGaveUp } from '../../../src/formats/net/gave-up.ts';

const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex');
const query = (mac: string, step: string, errno: string) =>
  decodeGaveUp(new URLSearchParams(`mac=${mac}&step=${hex(step)}&errno=${hex(errno)}`));

describe('what a script says where it gave up', () => {
  it('is its card, its step and its error', () => {
    assert.deepEqual(query('52-54-00-12-34-56', 'verify the kernel vmlinuz', '0x227e13c'), {
      ...{ mac: '52:54:00:12:34:56', step: 'verify the kernel vmlinuz', errno: '0x227e13c' },
    });
    // Without a network card, and where nothing failed before.
    assert.deepEqual(query('', 'start anything: nothing was chosen', ''), {
      step: 'start anything: nothing was chosen',
    });
    assert.equal(query('', 'x'.repeat(128), '')?.step.length, 128);
  });

  it('is nothing that only looks like it', () => {
    for (const [step, errno] of [
      ['', ''],
      ['x'.repeat(129), ''],
      ['\x1b[2J', ''],
      ['a\nb', ''],
      ['\xe4', ''],
      ['x', '7'],
      ['x', '0x'],
      ['x', '0x123456789'],
      ['x', '0xABC'],
    ] as const)
      assert.equal(query('', step, errno), undefined, `${step} ${errno}`);
    for (const text of [
      '',
      'step=78',
      'mac=&step=78',
      'step=78&mac=&errno=',
      'mac=&step=78&errno=&more=',
      'mac=&step=78&step=78&errno=',
      'mac=&step=7&errno=',
      'mac=&step=7G&errno=',
      'mac=&step=7A&errno=',
      'mac=&step=verify&errno=',
    ])
      assert.equal(decodeGaveUp(new URLSearchParams(text)), undefined, text);
  });
});
