import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/errors/refusal.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import type { FreeType } from '../../src/formats/script/cmdline.ts';
import { demandCommandLine } from '../../src/trust/command-line.ts';
import { goodText } from '../fixtures/manifest-record.ts';

/** Vectors stand in test/fixtures/manifest-vectors-cmdline.ts; here is what holds for every line. */

const manifest = decodeManifest(Buffer.from(goodText(Buffer.alloc(8192, 'root image'))));
const DIGEST = 'e'.repeat(64);
const NAMED = `bootseal.manifest=${DIGEST}`;
const FREE: Readonly<Record<string, string>> = {
  ip: 'ip=dhcp',
  addr: 'addr=10.0.0.9',
  BOOTIF: 'BOOTIF=01-52-54-00-12-34-56',
  port: 'port=8080',
  archiso_http_srv: 'archiso_http_srv=http://10.0.0.1:8080/',
  host: 'host=lab-7',
  serial: 'serial=00c0FFEE',
  flavour: 'flavour=tty0,115200',
};
const line = (words: readonly string[]): string => words.join(' ');
const hold = (words: readonly string[]): void => demandCommandLine(line(words), manifest, DIGEST);
const wrong = (error: unknown): boolean => error instanceof Refusal && error.code === 'wrong-command-line';

/** The good words in some order that keeps the signed ones in theirs, with initrds among them. */
const goodLines = fc
  .record({
    loader: fc.constantFrom([], ['vmlinuz-linux'], ['BOOT_IMAGE=(http,10.0.0.1)/vmlinuz']),
    free: fc.subarray(Object.values(FREE)),
    initrds: fc.array(fc.stringMatching(/^initrd=[A-Za-z0-9_][A-Za-z0-9._+@:,=-]{0,11}$/), { maxLength: 3 }),
    seed: fc.infiniteStream(fc.nat(1000)),
  })
  .map(({ loader, free, initrds, seed }) => {
    const words = [...manifest.cmdline];
    for (const word of [NAMED, ...free, ...initrds]) {
      const { value } = seed.next();
      words.splice((value ?? 0) % (words.length + 1), 0, word);
    }
    return [...loader, ...words];
  });

describe('a command line', () => {
  it('is held by what the manifest signed, wherever free words stand', () => {
    fc.assert(fc.property(goodLines, hold));
  });

  it('is refused with any word more that nobody signed', () => {
    const word = fc
      .stringMatching(/^[A-Za-z0-9._:,=/@%+[\]-]{1,20}$/)
      .filter((text) => !text.startsWith('initrd=') && !text.startsWith('BOOT_IMAGE='))
      .filter(
        (text) =>
          !(text.split('=')[0] ?? '').match(/^(ip|addr|BOOTIF|port|archiso_http_srv|host|serial|flavour)$/),
      )
      .filter((text) => text !== 'vmlinuz-linux');
    fc.assert(
      fc.property(goodLines, word, fc.nat(1000), (words, more, at) => {
        const longer = [...words];
        longer.splice(at % (words.length + 1), 0, more);
        assert.throws(() => hold(longer), Refusal);
      }),
    );
  });

  it('is refused with any word less that was signed', () => {
    const signed = fc.nat(manifest.cmdline.length - 1);
    fc.assert(
      fc.property(goodLines, signed, (words, at) => {
        const lost = words.indexOf(manifest.cmdline[at] ?? '');
        assert.throws(() => hold(words.filter((_, index) => index !== lost)), wrong);
      }),
    );
  });

  it('is refused with any character that a shell or a kernel would read', () => {
    const octet = fc
      .integer({ min: 0, max: 255 })
      .map((code) => String.fromCharCode(code))
      .filter((character) => !/[A-Za-z0-9._:,=/@%+[\]\- ]/.test(character));
    fc.assert(
      fc.property(goodLines, octet, fc.nat(10_000), (words, character, at) => {
        const good = line(words);
        const place = at % (good.length + 1);
        const spoiled = good.slice(0, place) + character + good.slice(place);
        // Parentheses are how GRUB names a device.
        if (/^BOOT_IMAGE=\S*[()]/.test(spoiled) && '()'.includes(character)) return;
        assert.throws(() => demandCommandLine(spoiled, manifest, DIGEST), Refusal);
      }),
      { numRuns: 500 },
    );
  });

  it('may be 2047 bytes long, and not one more', () => {
    const words = line([...manifest.cmdline, NAMED]);
    demandCommandLine(words.padEnd(2047), manifest, DIGEST);
    assert.throws(() => demandCommandLine(words.padEnd(2048), manifest, DIGEST), wrong);
  });

  for (const [name, good] of Object.entries(FREE)) {
    it(`takes ${name} once, with a value of its type`, () => {
      const words = [...manifest.cmdline, NAMED];
      hold([...words, good]);
      assert.throws(() => hold([...words, good, good]), wrong);
      for (const value of ['', `${name}`, `${name}=`, `${name}=x y`, `${good}$`, `${good}/../x`]) {
        if (value !== '') assert.throws(() => hold([...words, value]), wrong, value);
      }
    });
  }

  it('names the word that is wrong, cut where it is long', () => {
    const reason = (words: readonly string[]): string => {
      try {
        hold(words);
      } catch (error) {
        return (error as Refusal).message;
      }
      return '';
    };
    const words = [...manifest.cmdline, NAMED];
    assert.match(
      reason([...words, 'checksum=n']),
      /^"checksum=n" is on the command line, and nobody signed it\.$/,
    );
    assert.match(
      reason([...words, 'checksum=y']),
      /^"checksum=y" stands where the signed command line has no such/,
    );
    assert.match(reason(words.slice(1)), /"checksum=y" stands where|"archisobasedir=arch" is missing/);
    assert.ok(reason([...words, 'x'.repeat(500)]).length < 200);
  });

  it('of a module is held against the module’s words, behind its name', () => {
    const words = ['quiet', 'console=hvc0'];
    const [kernel, ...files] = manifest.files;
    assert.ok(kernel);
    const module = { ...kernel, role: 'module' as const, path: 'xen/vmlinuz' };
    const xen = { ...manifest, files: [kernel, module, ...files], moduleCmdline: words };
    for (const loader of ['', 'vmlinuz ', 'BOOT_IMAGE=/xen/vmlinuz ']) {
      demandCommandLine(`${loader}${line(words)} ${NAMED}`, xen, DIGEST);
    }
    for (const other of [line(manifest.cmdline), 'quiet', `vmlinuz-linux ${line(words)}`]) {
      assert.throws(() => demandCommandLine(`${other} ${NAMED}`, xen, DIGEST), wrong, other);
    }
  });

  it('is never read as a pattern, whatever a free parameter is called', () => {
    const types: FreeType[] = ['dhcp'];
    const odd = { ...manifest, cmdline: [], free: types.map((type) => ({ name: 'a.c', type })) };
    demandCommandLine(`a.c=dhcp ${NAMED}`, odd, DIGEST);
    assert.throws(() => demandCommandLine(`abc=dhcp ${NAMED}`, odd, DIGEST), wrong);
  });
});
