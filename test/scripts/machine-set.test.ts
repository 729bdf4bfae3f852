// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { grubBoot, grubVariables } from '../../src/formats/script/grub-boot.ts';
import { compileBootScript } from '../../src/scripts/compile.ts';
import { compileGrubConfig } from '../../src/scripts/grub-config.ts';
import { lintGrubConfig } from '../../src/scripts/grub-lint.ts';
import { lintScript } from '../../src/scripts/lint.ts';
import { type MachineIdentity, MOST_MACHINES } from '../../src/scripts/machine-set.ts';
import { DIGEST, MANIFEST } from './scripts.ts';

const A = '52:54:00:00:00:0a';
const B = '52:54:00:00:00:0b';
const UUID = '11223344-5566-7788-99aa-bbccddeeff00';
const manifest = { ...MANIFEST, free: [...MANIFEST.free, { name: 'hostname', type: 'name' } as const] };

const ipxe = (machines: readonly MachineIdentity[], words: readonly string[] = []) =>
  compileBootScript({
    manifest,
    manifestSha256: DIGEST,
    server: { kind: 'typed' },
    machines,
    words,
  });
const grub = (machines: readonly MachineIdentity[], words: readonly string[] = []) =>
  compileGrubConfig({
    manifest,
    manifestSha256: DIGEST,
    server: { kind: 'dhcp', httpPort: 8080 },
    machines,
    words,
  });
const unsafe = (code: string) => (error: unknown) => error instanceof Refusal && error.code === code;

describe('a script for certain machines', () => {
  it('compares each of their addresses and both ways to print a UUID, and is clean', () => {
    const text = ipxe([{ macs: [A, B], uuid: UUID }]);
    for (const value of [
      `{netX/mac} ${A}`,
      `{netX/mac} ${B}`,
      `{uuid} ${UUID}`,
      '{uuid} 44332211-6655-8877-',
    ])
      assert.ok(text.includes(`iseq $${value}`), value);
    assert.deepEqual(lintScript(Buffer.from(text), { signers: [manifest.release] }), []);
    assert.ok(text.indexOf('iseq') < text.indexOf('\nkernel '), 'before anything is fetched');
  });

  it('of GRUB names them, and is clean', () => {
    const bytes = Buffer.from(grub([{ macs: [A] }, { macs: [B] }]));
    assert.deepEqual(lintGrubConfig(bytes), []);
    assert.deepEqual(grubBoot(bytes, grubVariables('http://10.0.0.1'))?.machines, [A, B]);
    const all = grubBoot(
      Buffer.from(
        compileGrubConfig({ manifest, manifestSha256: DIGEST, server: { kind: 'dhcp', httpPort: 80 } }),
      ),
      grubVariables('http://10.0.0.1'),
    );
    assert.equal(all?.machines, undefined);
  });

  it('is for some, for at most 256, and for none that it cannot tell', () => {
    const many = Array.from({ length: MOST_MACHINES + 1 }, (_, at) => ({
      macs: [
        `52:54:00:00:${(at >> 8).toString(16).padStart(2, '0')}:${(at & 255).toString(16).padStart(2, '0')}`,
      ],
    }));
    assert.deepEqual(lintScript(Buffer.from(ipxe(many.slice(1)))), []);
    for (const machines of [[], many, [{ macs: [] }]]) {
      assert.throws(() => ipxe(machines), unsafe('unsafe-script'));
      assert.throws(() => grub(machines), unsafe('unsafe-script'));
    }
    assert.throws(() => grub([{ macs: [], uuid: UUID }]), unsafe('unsafe-script'));
    // Nobody spells a way around the comparison.
    assert.throws(() => ipxe([{ macs: [`${A} || goto x`] }]), unsafe('unsafe-script'));
    assert.throws(() => grub([{ macs: [`${A}' -o 'a' = 'a`] }]), unsafe('unsafe-script'));
  });
});

describe('words of a machine', () => {
  it('fill free parameters, in the place of what the script would have said', () => {
    const line = /^kernel .*$/m.exec(
      ipxe([{ macs: [A] }], ['hostname=lab-1', 'archiso_nbd_srv=10.1.2.3']),
    )?.[0];
    assert.match(line ?? '', / archiso_nbd_srv=10\.1\.2\.3 hostname=lab-1 /);
    const config = grub([{ macs: [A] }], ['hostname=lab-1', 'BOOTIF=01-52-54-00-00-00-0a']);
    assert.match(config, /'BOOTIF=01-52-54-00-00-00-0a' \$bootseal_files 'hostname=lab-1'/);
    assert.doesNotMatch(config, /bootseal_bootif=/);
    assert.deepEqual(lintGrubConfig(Buffer.from(config)), []);
  });

  it('are of the manifest’s names and types, each once', () => {
    for (const words of [
      ['init=/bin/sh'],
      ['quiet'],
      ['=x'],
      ['hostname=a b'],
      ['hostname='],
      ['hostname=${x}'],
      ['archiso_nbd_srv=300.1.1.1'],
      ['hostname=a', 'hostname=b'],
    ]) {
      assert.throws(() => ipxe([{ macs: [A] }], words), unsafe('wrong-command-line'), words.join(' '));
      assert.throws(() => grub([{ macs: [A] }], words), unsafe('wrong-command-line'), words.join(' '));
    }
  });
});
