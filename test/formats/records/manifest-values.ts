import fc from 'fast-check';
import type { Manifest, Role } from '../../../src/formats/records/manifest.ts';
import type { FreeParameter } from '../../../src/formats/script/cmdline.ts';
import { hashDeviceSize, MAX_DATA_BLOCKS } from '../../../src/formats/verity/dm-verity.ts';
import { BLOCK_SIZE } from '../../../src/formats/verity/verity-tree.ts';

const FREE: FreeParameter[] = [
  { name: 'ip', type: 'dhcp' },
  { name: 'BOOTIF', type: 'mac' },
  { name: 'archiso_http_srv', type: 'url' },
  { name: 'port', type: 'port' },
  { name: 'host', type: 'name' },
  { name: 'serial', type: 'hex 32' },
  { name: 'flavour', type: 'choice a|b,1|c' },
];

/** Manifests that may be written: with a root image or not, and one with a tree or not. */
export function manifestValues(): fc.Arbitrary<Manifest> {
  const segment = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._+-]{0,9}$/);
  const hexes = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
  // Names that no system gives a meaning to: `vnc=` would open a shell.
  const word = fc.stringMatching(/^q[a-z]{2}=[A-Za-z0-9._:,=/@%+[\]-]{0,9}$/);
  const second = fc.integer({ min: 0, max: Date.UTC(9998, 0) / 1000 });
  const head = fc.record({
    release: fc.tuple(segment, segment).map(([a, b]) => `a${a}/1${b}`),
    serial: fc.maxSafeNat(),
    issued: second.map((time) => time * 1000),
    bestBefore: fc.constant(Date.UTC(9999, 0)),
    arch: segment,
    layout: fc.constantFrom('plain', 'archiso', 'some-1'),
    cmdline: fc.array(word, { maxLength: 6 }),
    free: fc.subarray(FREE),
    shell: fc.boolean(),
  });
  const digests = fc.record({ sha256: hexes(64), sha512: hexes(128) });
  const listed = (role: Role, path: string) =>
    fc.tuple(fc.maxSafeNat(), digests).map(([size, of]) => ({ role, path, size, ...of }));
  const loaded = fc
    .tuple(
      listed('kernel', 'x/0'),
      listed('initrd', 'x/1'),
      listed('initrd', 'x/2'),
      listed('overlay', 'x/3'),
    )
    .chain(([kernel, ...more]) => fc.subarray(more).map((some) => [kernel, ...some]));
  const verified = fc
    .tuple(fc.integer({ min: 1, max: MAX_DATA_BLOCKS }), digests, digests)
    .map(([dataBlocks, image, tree]) => ({
      files: [
        { role: 'rootfs' as const, path: 'x/r', size: dataBlocks * BLOCK_SIZE, ...image },
        { role: 'hashtree' as const, path: 'x/r.verity', size: hashDeviceSize(dataBlocks), ...tree },
      ],
      verity: [{ rootHash: tree.sha256, salt: '-' as const, dataBlocks, path: 'x/r' }],
    }));
  const root = fc.oneof(
    verified,
    listed('rootfs', 'x/r').map((image) => ({ files: [image], verity: [] })),
    fc.constant({ files: [], verity: [] }),
  );
  return fc.tuple(head, loaded, root).chain(([top, first, { files: last, verity }]) => {
    const [kernel, ...initrds] = first;
    const more = fc.record({
      module: fc.option(fc.tuple(listed('module', 'x/m'), fc.array(word, { maxLength: 3 }))),
      others: fc.subarray(['y/preseed.cfg', 'y/config.ign']).chain((paths) => {
        return fc.tuple(...paths.map((path) => listed('file', path)));
      }),
    });
    return more.chain(({ module, others }) => {
      const files = [
        ...(kernel ? [kernel] : []),
        ...(module ? [module[0]] : []),
        ...initrds,
        ...last,
        ...others,
      ];
      return fc.subarray(files).map((some) => ({
        ...top,
        ...(module ? { moduleCmdline: module[1] } : {}),
        ...{ files, verity },
        fsverity: some.map(({ sha256, path }) => ({ digest: sha256, path })),
      }));
    });
  });
}
