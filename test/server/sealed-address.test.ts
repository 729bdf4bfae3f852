import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SealedServers } from '../../src/scripts/sealed-server.ts';
import { sealedElsewhere } from '../../src/server/sealed-address.ts';

const HERE = [{ address: '10.0.0.1', port: 8080 }];
const NOWHERE: SealedServers = { ipxe: undefined, grub: undefined };

describe('where sealed scripts fetch from, and where a server listens', () => {
  for (const [what, servers, bound] of [
    ['no script names a place', NOWHERE, HERE],
    ['boot.ipxe names this very server', { ...NOWHERE, ipxe: 'http://10.0.0.1:8080' }, HERE],
    ['a name, and this port', { ...NOWHERE, ipxe: 'http://boot.example:8080' }, HERE],
    [
      'port 80 without saying so',
      { ...NOWHERE, ipxe: 'http://boot.example' },
      [{ address: '10.0.0.1', port: 80 }],
    ],
    [
      'any address of this machine',
      { ...NOWHERE, ipxe: 'http://10.0.0.9:8080' },
      [{ address: '0.0.0.0', port: 8080 }],
    ],
    [
      'the second address',
      { ...NOWHERE, ipxe: 'http://10.0.0.1:8080' },
      [{ address: '::1', port: 8080 }, ...HERE],
    ],
    [
      'the second port',
      { ipxe: 'http://10.0.0.1:8080', grub: { kind: 'dhcp', httpPort: 8080 } },
      [
        { address: '::', port: 80 },
        { address: '::', port: 8080 },
      ],
    ],
    ['GRUB by DHCP at this port', { ...NOWHERE, grub: { kind: 'dhcp', httpPort: 8080 } }, HERE],
    ['GRUB at this server', { ...NOWHERE, grub: { kind: 'literal', host: '10.0.0.1', port: 8080 } }, HERE],
  ] as const)
    it(`agree: ${what}`, () => {
      assert.deepEqual(sealedElsewhere(servers, bound), []);
    });

  const elsewhere = 'and this server listens elsewhere';
  for (const [what, servers, said] of [
    [
      'another port',
      { ...NOWHERE, ipxe: 'http://10.0.0.1:9090' },
      [`iPXE fetches from the port 9090, which the sealed boot.ipxe names, ${elsewhere}`],
    ],
    [
      'another host',
      { ...NOWHERE, ipxe: 'http://10.0.0.2:8080' },
      [`iPXE fetches from the address 10.0.0.2, which the sealed boot.ipxe names, ${elsewhere}`],
    ],
    [
      'both, of both loaders',
      { ipxe: 'http://10.0.0.2', grub: { kind: 'literal', host: '10.0.0.2', port: 80 } },
      [
        `iPXE fetches from the address 10.0.0.2 and the port 80, which the sealed boot.ipxe names, ${elsewhere}`,
        `GRUB fetches from the address 10.0.0.2 and the port 80, which the sealed grub.cfg names, ${elsewhere}`,
      ],
    ],
    [
      'GRUB’s port alone',
      { ...NOWHERE, grub: { kind: 'dhcp', httpPort: 80 } },
      [`GRUB fetches from the port 80, which the sealed grub.cfg names, ${elsewhere}`],
    ],
  ] as const)
    it(`differ: ${what}`, () => {
      assert.deepEqual(sealedElsewhere(servers, HERE), said);
    });
});
