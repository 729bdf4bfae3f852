import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Manifest, ManifestFile, Role } from '../../src/formats/records/manifest.ts';
import type { FreeParameter } from '../../src/formats/script/cmdline.ts';
import { compileGrubConfig, grubServerOf, isGrubConfigOf } from '../../src/scripts/grub-config.ts';
import type { GrubServer } from '../../src/scripts/grub-server.ts';

const DHCP: GrubServer = { kind: 'dhcp', httpPort: 80 };
const SHA256 = 'a1'.repeat(32);

const folder = mkdtempSync(join(tmpdir(), 'bootseal-test-grub-'));
after(() => rmSync(folder, { recursive: true }));

function file(role: Role, path: string): ManifestFile {
  return { role, path, size: 1, sha256: '0'.repeat(64), sha512: '0'.repeat(128) };
}

function manifest(changes: Partial<Manifest> = {}): Manifest {
  return {
    release: 'arch/2026.11.01',
    serial: 2026110100,
    issued: 0,
    bestBefore: 1,
    arch: 'x86_64',
    layout: 'archiso',
    cmdline: ['archisobasedir=arch', 'checksum=y', 'dns=[fd77::1]'],
    free: [
      { name: 'ip', type: 'dhcp' },
      { name: 'BOOTIF', type: 'mac' },
      { name: 'archiso_http_srv', type: 'url' },
    ],
    shell: false,
    files: [
      file('overlay', 'late.img'),
      file('kernel', 'boot/vmlinuz'),
      file('initrd', 'boot/initramfs.img'),
    ],
    verity: [],
    fsverity: [],
    ...changes,
  };
}

function compile(changes: Partial<Manifest> = {}, server = DHCP): string {
  return compileGrubConfig({ manifest: manifest(changes), manifestSha256: SHA256, server });
}

function refusal(code: string, work: () => unknown): void {
  assert.throws(work, (error) => error instanceof Refusal && error.code === code);
}

/** grub-script-check is GRUB's own parser. */
function grubParses(text: string): void {
  const path = join(folder, 'grub.cfg');
  writeFileSync(path, text);
  execFileSync('grub-script-check', [path], { stdio: 'pipe' });
}

test('GRUB parses what is compiled, for every kind of server', () => {
  grubParses(compile());
  grubParses(compile({}, { kind: 'dhcp', httpPort: 8080 }));
  grubParses(compile({}, { kind: 'literal', host: 'boot.example.org', port: 80 }));
  assert.throws(() => grubParses(compile().replace('function bootseal_refuse {', 'function {')));
});

test('the kernel gets the manifest’s words in order, each quoted, and the manifest’s digest', () => {
  const line = compile()
    .split('\n')
    .find((text) => text.startsWith('if linux '));
  assert.equal(
    line,
    'if linux "$bootseal_device/releases/arch/2026.11.01/boot/vmlinuz" ' +
      "'archisobasedir=arch' 'checksum=y' 'dns=[fd77::1]' " +
      `$bootseal_ip $bootseal_bootif $bootseal_files bootseal.manifest=${SHA256}; then`,
  );
});

test('an overlay follows the initrds, which it overrides', () => {
  const base = '$bootseal_device/releases/arch/2026.11.01';
  assert.ok(compile().includes(`if initrd "${base}/boot/initramfs.img" "${base}/late.img"; then`));
});

test('parameters that the manifest does not free are not filled', () => {
  const text = compile({ free: [] });
  assert.ok(!text.includes('archiso_http_srv='));
  assert.ok(!text.includes('ip=dhcp'));
  assert.ok(!text.includes('BOOTIF=01'));
});

test('a free parameter of another type than the known one is not filled', () => {
  const free: FreeParameter[] = [{ name: 'archiso_http_srv', type: 'port' }];
  assert.ok(!compile({ free }).includes('archiso_http_srv='));
});

test('the port of the file server stands in the address unless it is 80', () => {
  const at8080 = compile({}, { kind: 'dhcp', httpPort: 8080 });
  assert.match(compile(), /srv=http:\/\/\$\{bootseal_server\}\/releases\/arch\/2026\.11\.01\/"/);
  assert.match(at8080, /srv=http:\/\/\$\{bootseal_server\}:8080\/releases\/arch\/2026\.11\.01\/"/);
});

test('the server that DHCP names is held to the form of an address before it is used', () => {
  const text = compile();
  assert.ok(text.indexOf("if regexp '^[0-9]{1,3}\\.") < text.indexOf('set bootseal_device='));
  assert.ok(text.indexOf("if regexp '^[0-9]{1,3}\\.") > 0);
});

test('a word that could end its quotes is refused', () => {
  for (const word of ["a' 'init=/bin/sh", 'a$b', 'a"b', 'a\nb', 'a b', '']) {
    refusal('unsafe-script', () => compile({ cmdline: [word] }));
  }
});

test('a path that leaves the release is refused', () => {
  refusal('unsafe-script', () =>
    compile({ files: [file('kernel', '../other/vmlinuz'), file('initrd', 'initrd')] }),
  );
});

test('a host that is more than a host is refused', () => {
  refusal('unsafe-script', () => compile({}, { kind: 'literal', host: "x'; reboot #", port: 80 }));
});

test('no kernel is absent', () => {
  refusal('absent', () => compile({ files: [file('initrd', 'initrd')] }));
});

test('a kernel alone is started alone', () => {
  const text = compile({ files: [file('kernel', 'memtest.bin')] });
  assert.match(text, /^ {2}if true; then$/m);
  assert.doesNotMatch(text, /^ *(if )?initrd /m);
});

test('a command line that the kernel would cut is refused', () => {
  refusal('unsafe-script', () => compile({ cmdline: ['a'.repeat(1000), 'b'.repeat(1000)] }));
});

test('what is added stands before ---, and only what the manifest frees is', () => {
  const text = compile({ cmdline: ['priority=low', '---', 'quiet'], free: [{ name: 'ip', type: 'dhcp' }] });
  assert.match(text, / 'priority=low' \$bootseal_ip bootseal\.manifest=[0-9a-f]{64} '---' 'quiet'; then$/m);
  assert.doesNotMatch(compile({ free: [] }), /bootseal_(ip|bootif|files)/);
});

/** A hypervisor, its Linux with an initrd, and words for both. */
const XEN: Partial<Manifest> = {
  files: [file('kernel', 'xen.gz'), file('module', 'vmlinuz'), file('initrd', 'initrd.img')],
  cmdline: ['console=com1', 'com1=115200,8n1'],
  moduleCmdline: ['console=hvc0', '---', 'quiet'],
};

test('a hypervisor gets its own words, its Linux the others and the manifest, and each is asked whether it failed', () => {
  const text = compile(XEN);
  grubParses(text);
  const base = '$bootseal_device/releases/arch/2026.11.01';
  const loads = text
    .split('\n')
    .filter((line) => /^ *(if )?(multiboot2|module2|initrd|linux|boot)\b/.test(line));
  assert.deepEqual(loads, [
    `if multiboot2 "${base}/xen.gz" 'console=com1' 'com1=115200,8n1'; then`,
    `  if module2 --nounzip "${base}/vmlinuz" 'console=hvc0' $bootseal_ip $bootseal_bootif $bootseal_files ` +
      `bootseal.manifest=${SHA256} '---' 'quiet'; then`,
    `    if module2 --nounzip "${base}/initrd.img"; then`,
    '      boot',
  ]);
  grubParses(compile({ ...XEN, files: XEN.files?.slice(0, 2) ?? [], cmdline: [], moduleCmdline: [] }));
});

test('the configuration of a hypervisor is known as what is made of its manifest', () => {
  const isOwn = (text: string, changes = XEN) =>
    isGrubConfigOf(Buffer.from(text, 'latin1'), manifest(changes), SHA256);
  const text = compile(XEN);
  assert.ok(isOwn(text));
  assert.ok(!isOwn(text, { ...XEN, cmdline: ['console=com2', 'com1=115200,8n1'] }));
  assert.ok(!isOwn(text, { ...XEN, moduleCmdline: ['console=hvc0'] }));
  assert.ok(!isOwn(text.replace('if module2', 'if true module2')));
});

test('what a hypervisor would drop, cut or add is refused', () => {
  const [kernel, module, initrd] = XEN.files as ManifestFile[];
  const two = [kernel, module, initrd, file('overlay', 'bootseal-overlay.img')] as ManifestFile[];
  const refused = (changes: Partial<Manifest>, says: RegExp) =>
    assert.throws(
      () => compile({ ...XEN, ...changes }),
      (error) => error instanceof Refusal && error.code === 'unsafe-script' && says.test(error.message),
    );
  refused({ files: two }, /hands vmlinuz one initrd and drops the others.*bootseal-overlay\.img; join them/);
  refused({ cmdline: ['--', 'quiet'] }, /give vmlinuz its words as module-cmdline/);
  refused({ moduleCmdline: ['a'.repeat(1000)] }, /exceed 1023 bytes/);
  refused({ cmdline: ['a'.repeat(1024)] }, /exceed 1023 bytes/);
  assert.ok(compile({ ...XEN, cmdline: ['a'.repeat(1023)] }));
  refused({ cmdline: ["a' b"] }, /cannot be a word/);
});

test('the server that a configuration names can be read from it', () => {
  for (const server of [DHCP, { kind: 'literal', host: '192.0.2.1', port: 8080 }] as const)
    assert.deepEqual(grubServerOf(compile(XEN, server)), server);
});

test('a configuration is known as what is made of its manifest, whatever server and pause it names', () => {
  const servers: readonly GrubServer[] = [
    DHCP,
    { kind: 'dhcp', httpPort: 8080 },
    { kind: 'literal', host: '192.0.2.1', port: 80 },
    { kind: 'literal', host: 'boot.example', port: 8080 },
  ];
  const isOwn = (text: string, changes: Partial<Manifest> = {}, sha256 = SHA256) =>
    isGrubConfigOf(Buffer.from(text, 'latin1'), manifest(changes), sha256);
  for (const server of servers) {
    for (const pause of [undefined, 5]) {
      const text = compileGrubConfig({
        manifest: manifest(),
        manifestSha256: SHA256,
        server,
        ...(pause === undefined ? {} : { pause }),
      });
      assert.ok(isOwn(text), `${JSON.stringify(server)} ${pause}`);
      assert.ok(!isOwn(text, { cmdline: ['quiet'] }));
      assert.ok(!isOwn(text, { release: 'arch/2026.12.01' }));
      assert.ok(!isOwn(text, { files: manifest().files.slice(1) }));
      assert.ok(!isOwn(text, {}, 'b2'.repeat(32)));
      // Any line gone, said twice, or with another before it; any byte changed.
      const lines = text.split('\n');
      for (const at of lines.keys()) {
        const without = lines.filter((_, n) => n !== at).join('\n');
        // Of what it names itself there is no other way to say it.
        assert.ok(!isOwn(without), `without ${lines[at]}`);
        const more = [...lines.slice(0, at), 'set check_signatures=no', ...lines.slice(at)].join('\n');
        assert.ok(!isOwn(more), `before ${lines[at]}`);
      }
      assert.ok(!isOwn(`${text}\n`) && !isOwn(text.replace('reboot', 'rebooT')));
    }
  }
  for (const text of ['', '\n', '  sleep 30\n', '\xff'.repeat(100)]) assert.ok(!isOwn(text));
});

test('a server that is no server is not taken for one', () => {
  const text = compileGrubConfig({
    manifest: manifest(),
    manifestSha256: SHA256,
    server: { kind: 'literal', host: '192.0.2.1', port: 80 },
  });
  for (const host of ['$evil', '192.0.2.1\n', 'a b', '(tftp)', '192.0.2.1,99999'])
    assert.ok(!isGrubConfigOf(Buffer.from(text.replaceAll('192.0.2.1', host)), manifest(), SHA256), host);
});
