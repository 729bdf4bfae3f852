import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { bytesResource } from '../../src/release/bytes-resource.ts';
import type { Site } from '../../src/release/site.ts';
import { checkNamedLoaders, type DhcpLoaderRequest, findDhcpLoaders } from '../../src/server/dhcp-loaders.ts';

/** A server that has these files; those after `!` have ended. */
function serving(...names: readonly string[]): Site['find'] {
  return async (path) => {
    const name = path.slice(1);
    if (names.includes(`!${name}`)) return new Refusal('expired', 'It has ended.');
    return names.includes(name)
      ? bytesResource(name, Buffer.of(1), false)
      : new Refusal('absent', 'It is not there.');
  };
}

async function told(request: Partial<DhcpLoaderRequest> & Pick<DhcpLoaderRequest, 'find'>) {
  const loaders = await findDhcpLoaders({ named: {}, tftp: true, ...request });
  return Object.fromEntries(
    [...loaders].map(([kind, loader]) => [
      kind,
      typeof loader === 'string' ? loader : `${loader.via} ${loader.path}`,
    ]),
  );
}

describe('what machines are told to load', () => {
  it('is the first of the files for their kind that is served', async () => {
    const all = await told({
      find: serving('boot.ipxe', 'autoexec.ipxe', 'bootseal-grub.0', 'snponly.efi', 'bootseal-grub.efi'),
    });
    assert.deepEqual(all, {
      bootseal: 'http boot.ipxe',
      'bootseal-arm64': 'no-loader',
      'ipxe-bios': 'tftp bootseal-grub.0',
      'ipxe-x64': 'http autoexec.ipxe',
      'ipxe-arm64': 'no-loader',
      ipxe: 'http autoexec.ipxe',
      bios: 'tftp bootseal-grub.0',
      ia32: 'no-loader',
      x64: 'tftp snponly.efi',
      arm32: 'no-loader',
      arm64: 'no-loader',
      'http-ia32': 'no-loader',
      'http-x64': 'http snponly.efi',
      'http-arm32': 'no-loader',
      'http-arm64': 'no-loader',
      'raspberry-pi': 'no-loader',
    });
  });

  it('is the image of the release for their architecture, also when it has ended: over HTTP they are told why', async () => {
    const { x64, arm64, bootseal } = await told({
      find: serving('!entries/x86_64/uki.efi', 'entries/aarch64/uki.efi', '!boot.ipxe'),
    });
    assert.deepEqual(
      [x64, arm64, bootseal],
      ['tftp entries/x86_64/uki.efi', 'tftp entries/aarch64/uki.efi', 'http boot.ipxe'],
    );
  });

  it('needs no TFTP where a URL will do, and says where it needs it', async () => {
    const find = serving('undionly.kpxe', 'autoexec.ipxe', 'ipxe.efi');
    const without = await told({ find, tftp: false });
    assert.deepEqual(
      [without.bios, without['ipxe-bios'], without.x64, without['http-x64'], without.arm64],
      ['no-tftp', 'http autoexec.ipxe', 'no-tftp', 'http ipxe.efi', 'no-loader'],
    );
  });

  it('is what the configuration names, or nothing where it says so', async () => {
    const find = serving('undionly.kpxe', 'own.0', 'own.efi', 'autoexec.ipxe');
    const own = {
      bios: 'own.0',
      'ipxe-x64': 'own.efi',
      'ipxe-bios': 'own.0',
      ia32: 'own.efi',
      ipxe: false,
    } as const;
    const named = await told({ find, named: own });
    assert.deepEqual(
      [named.bios, named['ipxe-x64'], named['ipxe-bios'], named.ia32, named.ipxe],
      ['tftp own.0', 'http own.efi', 'tftp own.0', 'tftp own.efi', 'no-loader'],
    );
    await checkNamedLoaders({ find, named: own, tftp: true });
    await assert.rejects(
      checkNamedLoaders({ find, named: { x64: 'misspelt.efi' }, tftp: true }),
      (error) =>
        error instanceof UsageError &&
        /machines of kind x64 to load misspelt\.efi, which is not served here/.test(error.message),
    );
  });
});
