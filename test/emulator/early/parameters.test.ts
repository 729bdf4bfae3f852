import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { archisoParameters } from '../../../src/emulator/early/parameters.ts';

const DEFAULTS = {
  arch: 'x86_64',
  basedir: 'arch',
  checksum: false,
  verify: false,
  cmsVerify: false,
  httpServer: undefined,
};

const CASES: readonly [
  what: string,
  cmdline: string,
  differs: Partial<Record<keyof typeof DEFAULTS, unknown>>,
][] = [
  ['nothing is on by itself', '', {}],
  [
    'a check is on with exactly "y"',
    'checksum=y verify=y cms_verify=y',
    { checksum: true, verify: true, cmsVerify: true },
  ],
  [
    '"yes", "Y", "1", "true" and nothing leave a check off',
    'checksum=yes verify=Y cms_verify=1 verify=true checksum=',
    {},
  ],
  ['a bare key means "y"', 'checksum verify', { checksum: true, verify: true }],
  [
    'the last occurrence wins',
    'checksum=y verify=n cms_verify=y checksum=n verify=y',
    { verify: true, cmsVerify: true },
  ],
  ['a bare key wins over an earlier value', 'checksum=n checksum', { checksum: true }],
  ['a longer or shorter key is another', 'xchecksum=y verify2=y cms_verif=y cms_verify.a=y', {}],
  ['keys are told by their letters', 'CHECKSUM=y Verify=y', {}],
  [
    'folder and architecture can be named',
    'archisobasedir=parabola arch=i686',
    { basedir: 'parabola', arch: 'i686' },
  ],
  ['a value keeps its equals signs', 'archiso_http_srv=http://a/?x=y/', { httpServer: 'http://a/?x=y/' }],
  [
    'tabs and line ends separate words as blanks do',
    '\tchecksum=y\n  verify=y\n',
    { checksum: true, verify: true },
  ],
];

describe('the command line as archiso reads it', () => {
  for (const [what, cmdline, differs] of CASES)
    it(what, () => assert.deepEqual(archisoParameters(cmdline, 'x86_64'), { ...DEFAULTS, ...differs }));

  it('switches nothing on by words that it does not know', () => {
    const word = fc
      .string({ minLength: 1 })
      .map((text) => text.replace(/\s/g, '_'))
      .filter(
        (text) => !/^(arch|archisobasedir|checksum|verify|cms_verify|archiso_http_srv)(=|$)/.test(text),
      );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        assert.deepEqual(archisoParameters(words.join(' '), 'x86_64'), DEFAULTS);
      }),
    );
  });
});
