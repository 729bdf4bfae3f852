import { basename } from 'node:path';
import type { Command } from 'commander';
import type { InstalledLoader } from '../../build/loaders.ts';
import { UsageError } from '../../errors/usage.ts';
import { dnsmasqLines } from '../../operations/dnsmasq.ts';
import { serverAddress } from '../../scripts/server-address.ts';
import { act, folder, found, newCommand, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';

interface GrubOptions {
  readonly arch?: string;
  readonly modules?: string;
  readonly anchors: string;
  readonly out: string;
  readonly url?: string;
}

interface EmbeddedOptions {
  readonly anchors: string;
  readonly url?: string;
  readonly ntp?: string;
  readonly arch?: string;
}

interface KitOptions extends EmbeddedOptions {
  readonly out: string;
}

interface FindOptions {
  readonly anchors?: string;
}

function printLoader(terminal: Terminal, loader: InstalledLoader): void {
  const { name, path, firmware, version, packageName, verification, trusts, ours, warnings, sha256 } = loader;
  const of = packageName === undefined ? '' : `, of ${packageName}`;
  terminal.print(`${path}  ${[name, firmware, version].filter(Boolean).join(', ')}${of}`);
  terminal.print(`  verifies  ${verification}`);
  for (const trusted of trusts) terminal.print(`  trusts    ${trusted}`);
  if (ours !== undefined)
    terminal.print(`  anchors   ${ours ? 'these are of this site' : 'NOT all of this site'}`);
  for (const warning of warnings) terminal.print(`  WARNING   it ${warning}`);
  if (sha256 !== undefined) terminal.print(`  sha256    ${sha256}`);
}

/** What DHCP asks about, for each image. */
const KIND = { 'i386-pc-pxe': 'bios', 'x86_64-efi': 'efi', 'arm64-efi': 'arm64' } as const;

/** @throws UsageError: here the parser of words cannot ask, since a command may stand in the same place. */
function demandFolder(path: string): string {
  if (found(path)?.isDirectory()) return path;
  throw new UsageError(`There is no folder ${path}, and no command of that name.`);
}

export function loadersCommand(): Command {
  const loaders = newCommand(
    'loaders',
    SUMMARIES.loaders,
    'bootseal loaders ./loaders --anchors keys/anchors',
  )
    // Of two commands in one line each has options of its own.
    .enablePositionalOptions()
    .argument('[dir]', 'a folder of loaders; default: where distributions install them')
    .option('--anchors <dir>', 'compare the keys that they trust with this site’s', folder);
  loaders.action(
    act<FindOptions>(async ({ terminal }, { anchors }, dir) => {
      const { findLoaders } = await import('../../build/loaders.ts');
      const { readAnchorFolder } = await import('../../trust/anchor-folder.ts');
      const seen = await findLoaders({
        ...(dir === undefined ? {} : { folder: demandFolder(dir) }),
        ...(anchors === undefined ? {} : { anchors: await readAnchorFolder(anchors) }),
      });
      terminal.json({ loaders: seen });
      for (const loader of seen) printLoader(terminal, loader);
      if (seen.length === 0)
        terminal.print(`No loader is ${dir === undefined ? 'installed here' : `in ${dir}`}.`);
      return EXIT.ok;
    }),
  );
  loaders.addCommand(
    newCommand(
      'grub',
      'build GRUB network images that hold the site’s keys and enforce signatures',
      'bootseal loaders grub --anchors keys/anchors --out loaders',
    )
      .requiredOption('--anchors <dir>', 'whose keys go inside: script.gpg and pubring.gpg', folder)
      .option('--out <dir>', 'where the images go', 'loaders')
      .option('--url <url>', 'a literal server; default: the one DHCP names', understood(serverAddress))
      .option('--arch <name>', 'whose machines they are for: x86_64, the default, or aarch64')
      .option(
        '--modules <dir>',
        'where GRUB’s modules were unpacked; default: where they are installed',
        folder,
      )
      .action(
        act<GrubOptions>(async ({ terminal, now }, { anchors, out, url, arch, modules }) => {
          const { buildGrubLoaders } = await import('../../build/loaders.ts');
          const images = await buildGrubLoaders({
            anchors,
            out,
            now,
            ...(url === undefined ? {} : { url }),
            ...(arch === undefined ? {} : { arch }),
            ...(modules === undefined ? {} : { modules }),
          });
          terminal.json({ images });
          for (const { platform, file, size } of images)
            terminal.print(`${file}  ${platform}, ${size} bytes`);
          const server = url === undefined ? 'SERVER' : new URL(url).hostname;
          const port = url === undefined ? undefined : Number(new URL(url).port || 80);
          terminal.print();
          terminal.print('For dnsmasq:');
          const kinds = images.map(({ platform, file }) => [KIND[platform], basename(file)] as const);
          for (const line of dnsmasqLines(server, Object.fromEntries(kinds), port)) terminal.print(line);
          return EXIT.ok;
        }),
      ),
  );
  loaders.addCommand(
    newCommand(
      'embedded',
      'print the script for a site’s own iPXE (EMBED=)',
      'bootseal loaders embedded --anchors keys/anchors > embedded.ipxe',
    )
      .requiredOption('--anchors <dir>', 'whose CA and boot leaf the loader shall demand', folder)
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a setting, spelled as iPXE spells it
      .option('--url <url>', 'where the loader fetches; default: http://${next-server}:8080')
      .option('--ntp <host>', 'a time server, for machines that lost their clock')
      .option(
        '--arch <name>',
        'whose machines it is for, where a channel has releases for several: aarch64; default: it asks at the top',
      )
      .action(
        act<EmbeddedOptions>(async ({ terminal }, { anchors, url, ntp, arch }) => {
          const { embeddedScript } = await import('../../build/loader-kit.ts');
          const script = await embeddedScript({
            anchors,
            ...(url === undefined ? {} : { url }),
            ...(ntp === undefined ? {} : { ntp }),
            ...(arch === undefined ? {} : { arch }),
          });
          terminal.json({ script });
          for (const line of script.trimEnd().split('\n')) terminal.print(line);
          return EXIT.ok;
        }),
      ),
  );
  loaders.addCommand(
    newCommand(
      'kit',
      'write what a site builds into its own iPXE: the script, the CA, and what iPXE calls them',
      'bootseal loaders kit --anchors keys/anchors --out kit --ntp ntp.example.org',
    )
      .requiredOption('--anchors <dir>', 'whose CA and boot leaf the loader shall demand', folder)
      .requiredOption('--out <dir>', 'where the files go')
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a setting, spelled as iPXE spells it
      .option('--url <url>', 'where the loader fetches; default: http://${next-server}:8080')
      .option('--ntp <host>', 'a time server, for machines that lost their clock')
      .option('--arch <name>', 'whose machines it is for, where a channel has releases for several: aarch64')
      .action(
        act<KitOptions>(async ({ terminal }, { anchors, out, url, ntp, arch }) => {
          const { writeLoaderKit } = await import('../../build/loader-kit.ts');
          const kit = await writeLoaderKit({
            anchors,
            out,
            ...(url === undefined ? {} : { url }),
            ...(ntp === undefined ? {} : { ntp }),
            ...(arch === undefined ? {} : { arch }),
          });
          terminal.json({ ...kit });
          for (const file of kit.files) terminal.print(file);
          terminal.print(`It will trust the CA ${kit.fingerprint}`);
          terminal.print(`and take no boot.ipxe but one that ${kit.bootSigner} signed; the README says how.`);
          return EXIT.ok;
        }),
      ),
  );
  return loaders;
}
