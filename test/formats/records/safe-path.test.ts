import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isReleaseId, isSafePath, isSafeSegment } from '../../../src/formats/records/safe-path.ts';

describe('a path is safe', () => {
  for (const path of [
    'arch/boot/x86_64/vmlinuz-linux',
    'a',
    '..a',
    '...',
    '.hidden',
    'a..b/~c/_d/+e,f=g:h@i',
    'x'.repeat(255),
    `${'abc/'.repeat(255)}abcd`,
  ]) {
    it(`as ${path.slice(0, 40)} (${path.length} bytes)`, () => assert.equal(isSafePath(path), true));
  }

  const unsafe: Readonly<Record<string, string>> = {
    nothing: '',
    'an absolute path': '/etc/passwd',
    'the parent': '..',
    'the parent inside': 'arch/../../etc/passwd',
    'the parent at the end': 'arch/..',
    'the folder itself': './arch',
    'an empty segment': 'arch//boot',
    'a slash at the end': 'arch/',
    'a leading dash, which commands read as an option': '-rf',
    'a leading dash further on': 'arch/-rf',
    'a backslash': 'arch\\boot',
    'an escape': 'arch/%2e%2e/x',
    'a blank': 'arch/a b',
    'a NUL': 'arch/vmlinuz\0.sig',
    'a line feed at the end': 'arch/vmlinuz\n',
    'a dollar, which scripts expand': `arch/\${net0/mac}`,
    'a question mark': 'arch/vmlinuz?x',
    'an umlaut, which has two spellings': 'arch/ü',
    'a segment of 256 bytes': 'x'.repeat(256),
    'a path of 1025 bytes': `${'abc/'.repeat(255)}abcde`,
  };
  for (const [name, path] of Object.entries(unsafe)) {
    it(`but not with ${name}`, () => assert.equal(isSafePath(path), false));
  }

  it('for any string only where every reader sees the same path below the folder', () => {
    const piece = fc.constantFrom(
      '.',
      '..',
      '/',
      '-',
      'a',
      'B7',
      '%2f',
      '\\',
      '\n',
      ' ',
      '+',
      '\0',
      '~',
      ':',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const path = pieces.join('');
        if (!isSafePath(path)) return;
        const url = new URL(`http://h/root/${path}`);
        assert.equal(decodeURIComponent(url.pathname), `/root/${path}`);
        assert.ok(path.split('/').every((segment) => isSafeSegment(segment) && !segment.startsWith('-')));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a release id', () => {
  for (const id of ['arch/2026.11.01', 'a/1', `${'n'.repeat(64)}/${'v'.repeat(64)}`, 'X+y_z-0/1.0-rc.1']) {
    it(`may be ${id.slice(0, 20)}`, () => assert.equal(isReleaseId(id), true));
  }
  for (const id of [
    '',
    'arch',
    'arch/',
    '/2026',
    'arch/2026/11',
    'arch/..',
    '../arch',
    'arch/.1',
    '.arch/1',
    '-a/1',
    'arch/1~2',
    'arch/1:2',
    'arch/1 2',
    'arch/1\n',
    `${'n'.repeat(65)}/1`,
    `a/${'v'.repeat(65)}`,
  ]) {
    it(`may not be ${JSON.stringify(id.slice(0, 20))}`, () => assert.equal(isReleaseId(id), false));
  }
});
