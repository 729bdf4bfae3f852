import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatUri, nameOfUri, parseUri, portableUrl, resolveUri } from '../../../src/emulator/ipxe/uri.ts';

const RESOLVED: readonly (readonly [base: string, relative: string, result: string])[] = [
  ['http://h/a/b', 'c', 'http://h/a/c'],
  ['http://h/a/b', './c', 'http://h/a/c'],
  ['http://h/a/b', '../c', 'http://h/c'],
  ['http://h/a/b', '../../../c', 'http://h/c'],
  ['http://h/a/b', '/c', 'http://h/c'],
  ['http://h/a/b', '.hidden', 'http://h/a/.hidden'],
  // Only leading dots mean anything: the server is asked for the rest as it stands.
  ['http://h/a/b', 'c/../d', 'http://h/a/c/../d'],
  ['http://h', 'c', 'http://h/c'],
  ['http://u:p@h:8080/a/b?q', 'c?r', 'http://u:p@h:8080/a/c?r'],
  ['http://h/a/b?q', '', 'http://h/a/b?q'],
  ['http://h/a/b?q', '?r', 'http://h/a/b?r'],
  // No scheme is kept for a path that begins with two slashes.
  ['http://h/a/b', '//other/c', 'http://h//other/c'],
  ['http://h/a/b', 'tftp://o/c', 'tftp://o/c'],
  ['tftp://h/a', 'c:d', 'c:d'],
];

for (const [base, relative, result] of RESOLVED) {
  test(`${relative || 'nothing'} from ${base} is ${result}`, () => {
    assert.equal(formatUri(resolveUri(parseUri(base), parseUri(relative))), result);
  });
}

const PORTABLE: readonly (readonly [text: string, url: string])[] = [
  ['http://10.0.0.1:0x1f90/x', 'http://10.0.0.1:8080/x'],
  ['http://10.0.0.1:017620/x', 'http://10.0.0.1:8080/x'],
  ['http://10.0.0.1:80a/x#f', 'http://10.0.0.1:80/x'],
  ['http://10.0.0.1:65616/x', 'http://10.0.0.1:80/x'],
  ['http://10.0.0.1:-1/x', 'http://10.0.0.1:65535/x'],
  ['http://[fe80::1]:81/x', 'http://[fe80::1]:81/x'],
  ['http://[fe80::1]/x', 'http://[fe80::1]/x'],
  ['http://h/a b\r\nX: y', 'http://h/a%20b%0D%0AX:%20y'],
];

for (const [text, url] of PORTABLE) {
  test(`${JSON.stringify(text)} is asked for as ${url}`, () => {
    assert.equal(portableUrl(parseUri(text)), url);
  });
}

test('names', () => {
  assert.equal(nameOfUri(parseUri('http://h/a/b%41?x/y')), 'bA');
  assert.equal(nameOfUri(parseUri('http://h/a/')), '');
  assert.equal(nameOfUri(parseUri('http://h')), undefined);
});
