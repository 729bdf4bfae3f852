import { Refusal } from '../errors/refusal.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import type { FreeParameter } from '../formats/script/cmdline.ts';
import { isCommandLineWord, isOfType, MAX_COMMAND_LINE, withAdded } from '../formats/script/cmdline.ts';
import { freeWords } from './free-words.ts';
import { type GrubConfigKind, lintGrubConfig } from './grub-lint.ts';
import {
  GRUB_MAC,
  GRUB_PAUSE,
  type GrubServer,
  httpDevice,
  httpPortOf,
  lines,
  serverLines,
} from './grub-server.ts';
import { grubMachines, type MachineIdentity } from './machine-set.ts';
import { demandMultiboot } from './multiboot.ts';
import {
  type Fragment,
  joinFragments,
  readTemplate,
  renderFragment,
  renderTemplate,
  type Value,
} from './template.ts';

export interface GrubConfigOptions {
  readonly manifest: Manifest;
  /** Of the manifest's bytes; lower-case hex. */
  readonly manifestSha256: string;
  readonly server: GrubServer;
  /** The machines that it is for: it starts nothing on any other. Undefined: whoever runs it. */
  readonly machines?: readonly MachineIdentity[] | undefined;
  /** Of these machines: each word fills a free parameter of the manifest. */
  readonly words?: readonly string[] | undefined;
  /** Seconds between a refusal and the restart; 30 by default. */
  readonly pause?: number;
}

/**
 * Whether a configuration is, byte for byte, what is made here of this manifest, for whatever server and pause it names.
 * The linter says what a configuration may not do; whoever signs one wants to know what it does.
 */
export function isGrubConfigOf(bytes: Uint8Array, manifest: Manifest, manifestSha256: string): boolean {
  const text = Buffer.from(bytes).toString('latin1');
  const pause = Number(/^ {2}sleep ([0-9]{1,6})$/m.exec(text)?.[1]);
  try {
    return compileGrubConfig({ manifest, manifestSha256, server: grubServerOf(text), pause }) === text;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

/** Where a configuration of ours fetches from. */
export function grubServerOf(text: string): GrubServer {
  const port = Number(/\(http,\$bootseal_server(?:[,:]([0-9]{1,5}))?\)/.exec(text)?.[1] ?? 80);
  const host = /^set bootseal_server='([^']+)'$/m.exec(text)?.[1];
  return host === undefined ? { kind: 'dhcp', httpPort: port } : { kind: 'literal', host, port };
}

/** The card GRUB booted from, as archiso wants it: GRUB writes colons, BOOTIF has dashes. */
const BOOTIF_LINES = `set bootseal_bootif=
if regexp --set=1:m1 --set=2:m2 --set=3:m3 --set=4:m4 --set=5:m5 --set=6:m6 \
'${GRUB_MAC}' \
"$net_default_mac"; then
  set bootseal_bootif="BOOTIF=01-$m1-$m2-$m3-$m4-$m5-$m6"
fi
`;

/**
 * `grub.cfg` of one release: ASCII lines, the same for the same input. Throws a `Refusal`: `absent` without a
 * kernel, `unsafe-script` for what a script cannot carry.
 */
export function compileGrubConfig(options: GrubConfigOptions): string {
  const { manifest, server } = options;
  const kernel = manifest.files.find(({ role }) => role === 'kernel');
  // An overlay overrides files of the initrds before it, so it comes last.
  const initrds = ['initrd', 'overlay'].flatMap((role) =>
    manifest.files.filter((file) => file.role === role),
  );
  if (kernel === undefined) {
    throw new Refusal('absent', `The manifest of ${manifest.release} lists no kernel.`, {
      release: manifest.release,
    });
  }
  if (!/^[0-9a-f]{64}$/.test(options.manifestSha256)) {
    throw new Refusal('unsafe-script', 'A manifest is named by 64 hex digits.', {
      release: manifest.release,
    });
  }
  const module = manifest.files.find(({ role }) => role === 'module');
  const given = freeWords(manifest, options.words ?? []);
  demandRoom(options, kernel.path);

  const release: Value = { kind: 'release', text: manifest.release };
  const paths = initrds.map(({ path }) => path);
  const started: Record<string, Value> = {
    release,
    kernel: { kind: 'path', text: kernel.path },
    'command-line': commandLineWords(options, given),
  };
  const own = quotedWords(manifest.cmdline);
  const start = module
    ? renderFragment('grub-multiboot.cfg', readTemplate('grub-multiboot.cfg'), {
        ...started,
        module: { kind: 'path', text: module.path },
        'kernel-words': lines(`${own.quoted.join(' ')}\n`, own.values),
        initrd: initrdCommand('module2 --nounzip', manifest.release, paths),
      })
    : renderFragment('grub-linux.cfg', readTemplate('grub-linux.cfg'), {
        ...started,
        initrd: initrdCommand('initrd', manifest.release, paths),
      });
  const text = renderTemplate('grub.cfg', readTemplate('grub.cfg'), {
    release,
    pause: { kind: 'hex', text: String(options.pause ?? GRUB_PAUSE) },
    machines: options.machines ? grubMachines(options.machines) : joinFragments([]),
    server: serverLines(server, 'bootseal_refuse'),
    http: httpDevice(server),
    free: joinFragments(
      manifest.free.map((free) => (given.has(free.name) ? joinFragments([]) : freeLines(free, options))),
    ),
    start,
  });
  return lintedGrub('grub.cfg', text, 'release');
}

/** Returns the configuration, or throws what the linter found: no value may spell a way around what it must hold. */
export function lintedGrub(name: string, text: string, kind: GrubConfigKind): string {
  const [finding] = lintGrubConfig(Buffer.from(text, 'latin1'), kind);
  if (finding === undefined) return text;
  throw new Refusal(
    'unsafe-script',
    `${name} would not be safe in line ${finding.line}: ${finding.message}.`,
    { script: name, line: finding.line, rule: finding.rule },
  );
}

/** The words of the Linux: fixed ones, those that are free, and the manifest. */
function commandLineWords(
  { manifest, manifestSha256 }: GrubConfigOptions,
  given: ReadonlyMap<string, string>,
): Fragment {
  const { cmdline } = linuxOf(manifest);
  const { quoted, values } = quotedWords(cmdline);
  const own: Record<string, Value> = {};
  const free = manifest.free.flatMap((parameter) => {
    const word = given.get(parameter.name);
    if (word === undefined) return freeVariable(parameter);
    const name = `given-${Object.keys(own).length}`;
    own[name] = { kind: 'command-line', text: word };
    return [`'{{${name}}}'`];
  });
  const added = [...free, 'bootseal.manifest={{manifest}}'];
  return lines(`${withAdded(cmdline, added, quoted).join(' ')}\n`, {
    ...values,
    ...own,
    manifest: { kind: 'hex', text: manifestSha256 },
  });
}

/** Each fixed word in quotes of its own: unquoted, GRUB takes `[` for a pattern of file names. */
function quotedWords(words: readonly string[]) {
  const values: Record<string, Value> = {};
  const quoted = words.map((word, index) => {
    if (!isCommandLineWord(word)) {
      throw new Refusal(
        'unsafe-script',
        `${JSON.stringify(word)} cannot be a word of a kernel command line.`,
      );
    }
    values[`word-${index}`] = { kind: 'command-line', text: word };
    return `'{{word-${index}}}'`;
  });
  return { quoted, values };
}

/** `true` where there is none: a tool, or a kernel with its initramfs built in. */
function initrdCommand(command: string, release: string, paths: readonly string[]): Fragment {
  if (paths.length === 0) return lines('true\n', {});
  const values: Record<string, Value> = { release: { kind: 'release', text: release } };
  const files = paths.map((path, index) => {
    values[`path-${index}`] = { kind: 'path', text: path };
    return `"$bootseal_device/releases/{{release}}/{{path-${index}}}"`;
  });
  return lines(`${command} ${files.join(' ')}\n`, values);
}

/** The variable that `freeLines` sets, empty where there is nothing to say. */
function freeVariable({ name, type }: FreeParameter): readonly string[] {
  const known: Readonly<Record<string, string>> = {
    'ip dhcp': '$bootseal_ip',
    'BOOTIF mac': '$bootseal_bootif',
    'archiso_http_srv url': '$bootseal_files',
  };
  const variable = known[`${name} ${type}`];
  return variable === undefined ? [] : [variable];
}

/** Lines for the parameters that GRUB knows a value for; others stay unset, which the manifest allows. */
function freeLines({ name, type }: FreeParameter, { manifest, server }: GrubConfigOptions): Fragment {
  if (name === 'ip' && type === 'dhcp') return lines('set bootseal_ip=ip=dhcp\n', {});
  if (name === 'BOOTIF' && type === 'mac') return lines(BOOTIF_LINES, {});
  if (name !== 'archiso_http_srv' || type !== 'url') return joinFragments([]);
  const port = httpPortOf(server);
  return lines(
    `set bootseal_files="archiso_http_srv=http://\${bootseal_server}${port === 80 ? '' : ':{{port}}'}/releases/{{release}}/"\n`,
    {
      release: { kind: 'release', text: manifest.release },
      ...(port === 80 ? {} : { port: { kind: 'hex' as const, text: String(port) } }),
    },
  );
}

/** The kernel would cut a longer line, and early userspace would be missing words. */
function demandRoom(
  { manifest, manifestSha256, server, words = [] }: GrubConfigOptions,
  kernel: string,
): void {
  const host = server.kind === 'literal' ? server.host : '255.255.255.255';
  const files = `http://${host}:65535/releases/${manifest.release}/`;
  if (!isOfType(files, 'url')) {
    throw new Refusal('unsafe-script', `${files} is no address that early userspace accepts.`, {
      release: manifest.release,
    });
  }
  const own = [
    ...linuxOf(manifest).cmdline,
    `ip=dhcp BOOTIF=01-ff-ff-ff-ff-ff-ff archiso_http_srv=${files} bootseal.manifest=${manifestSha256}`,
    ...words,
  ].join(' ');
  if (manifest.moduleCmdline !== undefined) {
    demandMultiboot(manifest, own.length);
    return;
  }
  const line = `BOOT_IMAGE=(http,${host}:65535)/releases/${manifest.release}/${kernel} ${own}`;
  if (line.length > MAX_COMMAND_LINE) {
    throw new Refusal(
      'unsafe-script',
      `The command line of ${manifest.release} can exceed ${MAX_COMMAND_LINE} bytes; the kernel would cut it.`,
      { release: manifest.release },
    );
  }
}
