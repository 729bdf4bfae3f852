import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { composeUki, demandStub, kernelVersion } from '../../src/build/uki.ts';
import { arm64Image, bzImage, zboot } from '../fixtures/kernels.ts';
import { smallPe } from '../fixtures/pe.ts';
import { smallKernel } from '../fixtures/uki.ts';
import { refused } from '../trust/judge.ts';

const AARCH64 = 0xaa64;
const MAGIC = {
  name: '.sdmagic',
  data: Buffer.from('#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####\0'),
};
const TEXT = { name: '.text', data: Buffer.alloc(300) };
const DATA = { name: '.data', data: Buffer.alloc(300) };

describe('a stub for arm64', () => {
  it('is taken from the systemd on whose stubs are told by a section', () => {
    const stub = smallPe({ machine: AARCH64, sections: [TEXT, MAGIC] });
    assert.deepEqual(demandStub(stub), { machine: AARCH64, version: 257 });
  });

  it('is refused by name where it is of the older kind, of .text and .data alone', () => {
    const old = smallPe({ machine: AARCH64, sections: [TEXT, DATA] });
    const says =
      /^The stub has the sections \.text and \.data and no \.sdmagic, as those of systemd before 254 for arm64 .* \(Debian 13\)\.$/;
    assert.throws(() => demandStub(old), refused('malformed', says));
    // On x86 no systemd ever made such a one.
    for (const stub of [smallPe({ sections: [TEXT, DATA] }), smallPe({ machine: AARCH64, sections: [TEXT] })])
      assert.throws(() => demandStub(stub), refused('malformed', /it has no section \.sdmagic\.$/));
  });

  it('goes with a kernel for arm64 alone', () => {
    const stub = smallPe({ machine: AARCH64, sections: [TEXT, MAGIC], headers: 0x1000 });
    const parts = { stub, osrel: 'ID=pi\n', cmdline: 'quiet', initrds: [] };
    const kernel = smallPe({ machine: AARCH64, sections: [TEXT] });
    kernel.write('ARM\x64', 56, 'latin1');
    assert.ok(composeUki({ ...parts, kernel }).length > stub.length);
    assert.throws(
      () => composeUki({ ...parts, kernel: smallKernel() }),
      refused('wrong-machine', /stub is for aarch64, and the kernel is for x86_64/),
    );
    assert.throws(
      () => composeUki({ ...parts, kernel: gzipSync(kernel) }),
      refused(
        'malformed',
        /^The kernel is packed \(arm64 Image, gzip\), and no stub starts that; unpack it before it is sealed\.$/,
      ),
    );
  });
});

describe('the version of a kernel', () => {
  const named = (kernel: Buffer, text: string, at = 20_000) => {
    kernel.write(text, at, 'latin1');
    return kernelVersion(kernel);
  };

  it('is that of its banner, in an arm64 Image', () => {
    assert.equal(
      named(arm64Image(), 'Linux version 6.1.0-50-arm64 (debian-kernel@lists.debian.org)'),
      '6.1.0-50-arm64',
    );
  });

  it('is not what stands there for printf, before the banner', () => {
    const kernel = arm64Image();
    kernel.write('%s version %s (buildd)\0Linux version %s (buildd)\0', 10_000, 'latin1');
    assert.equal(named(kernel, 'Linux version 6.12.1 (somebody)'), '6.12.1');
    assert.equal(kernelVersion(arm64Image()), undefined);
    assert.equal(named(arm64Image(), `Linux version ${'1'.repeat(129)} (somebody)`), undefined);
  });

  it('is read of no other kind but a bzImage', () => {
    const banner = 'Linux version 6.1.0 (somebody)';
    assert.equal(named(zboot(AARCH64), banner), undefined);
    assert.equal(named(bzImage(), banner), undefined);
    assert.equal(kernelVersion(smallKernel()), '6.1.0-lab');
    assert.equal(kernelVersion(new Uint8Array()), undefined);
  });
});
