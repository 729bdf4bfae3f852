import assert from 'node:assert/strict';
import { it } from 'node:test';
import { TFTP_ERROR } from '../../src/formats/net/tftp.ts';
import { safeRequestPath } from '../../src/serve/http/request-path.ts';
import { requestedPath } from '../../src/serve/tftp/tftp-request.ts';

const overTftp = (filename: string) =>
  requestedPath({ kind: 'rrq', filename, mode: 'octet', options: new Map() });

it('HTTP and TFTP read one name alike', () => {
  for (const [name, path] of [
    ['/ipxe.efi', '/ipxe.efi'],
    ['//ipxe.efi', '/ipxe.efi'],
    ['/boot///grub//grub.cfg', '/boot/grub/grub.cfg'],
    ['/releases/debian/6.12.43+deb13/vmlinuz', '/releases/debian/6.12.43+deb13/vmlinuz'],
  ] as const) {
    assert.equal(safeRequestPath(name), path);
    assert.equal(overTftp(name), path);
  }
  for (const name of [
    '/../x',
    '//..//x',
    '/a/./b',
    '/a\\b',
    '/-x',
    `/${'a'.repeat(300)}`,
    '/a b',
    '/folder/',
  ]) {
    assert.equal(typeof safeRequestPath(name), 'object', name);
    const no = overTftp(name);
    assert.ok(typeof no === 'object' && no.error === TFTP_ERROR.accessViolation, name);
  }
});

it('only TFTP lets a leading slash be missing, and only HTTP has a page at the root', () => {
  assert.equal(overTftp('ipxe.efi'), '/ipxe.efi');
  assert.equal(typeof safeRequestPath('ipxe.efi'), 'object');
  assert.equal(safeRequestPath('//'), '/');
  assert.equal(typeof overTftp('/'), 'object');
});
