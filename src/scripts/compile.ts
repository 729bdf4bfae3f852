import { Refusal } from '../errors/refusal.ts';
import { entryFolder } from '../formats/records/entry-folder.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import type { FreeParameter } from '../formats/script/cmdline.ts';
import {
  isCommandLineWord,
  isFreeType,
  isOfType,
  MAX_COMMAND_LINE,
  withAdded,
} from '../formats/script/cmdline.ts';
import { freeWords } from './free-words.ts';
import { gaveUp } from './gave-up.ts';
import { identityQuery } from './identity-query.ts';
import { lintScript } from './lint.ts';
import { longestCommandLine } from './lint-command.ts';
import type { LintPermit } from './lint-flow.ts';
import { ipxeMachines, type MachineIdentity } from './machine-set.ts';
import {
  type Fragment,
  isImageName,
  joinFragments,
  readTemplate,
  renderFragment,
  renderTemplate,
  SCRIPT_SETTINGS,
  type Value,
  type ValueKind,
  withoutSettings,
} from './template.ts';

/**
 * Boot scripts from the templates in `ipxe-scripts/`. Every result is ASCII with line feeds, ends with one,
 * and is the same for the same input. Scripts that promise to verify are linted before they are returned.
 */

/**
 * Where a script fetches from. `typed`: the host that DHCP names and the port setting, 8080 unless the
 * loader set another. `literal`: `http://10.1.2.3:8080`, without a slash at its end.
 */
export type ScriptServer =
  | {
      readonly kind: 'typed';
      /** The port where the setting is unset; 8080 unless told. */
      readonly port?: number;
    }
  | { readonly kind: 'literal'; readonly url: string };

export interface ReleaseScriptOptions {
  readonly manifest: Manifest;
  /** Of the manifest's bytes; lower-case hex. */
  readonly manifestSha256: string;
  readonly server: ScriptServer;
  /** The machines that it is for: it starts nothing on any other. Undefined: whoever runs it. */
  readonly machines?: readonly MachineIdentity[];
  /** Of these machines: each word fills a free parameter of the manifest. */
  readonly words?: readonly string[];
  /** The folder that it fetches kernel and initrds through, `armed/…`; undefined: where the release lies. */
  readonly through?: string;
  /** What names the seals that the script asks for; `.ipxe.sig` unless it is for loaders of another CA. */
  readonly sealSuffix?: string;
}

/** The name under which a seal waits for `imgverify`, which frees it: never left for the kernel as an initrd. */
const SEAL_IMAGE = 'bootseal.seal';

/**
 * `boot.ipxe` of one release. Throws a `Refusal`: `unsafe-script` for what a script cannot carry (two initrds of one
 * name, a command line over 2047 bytes, an address early userspace would not accept), `absent` without a
 * kernel.
 */
export function compileBootScript(options: ReleaseScriptOptions): string {
  const { manifest } = options;
  if (manifest.moduleCmdline !== undefined) return compileGrubOnly(options);
  const text = renderTemplate('boot.ipxe', readTemplate('boot.ipxe'), {
    ...releaseValues(options),
    'kernel-seal': value('path', kernelPath(manifest) + sealSuffix(options)),
    release: value('release', manifest.release),
    machines: options.machines ? ipxeMachines(options.machines) : joinFragments([]),
    initrds: initrdLines(options, 'initrd.ipxe', true),
    reason: fragment('reason.ipxe', {}),
    'gave-up': gaveUp(baseOf(options.server)),
  });
  return linted('boot.ipxe', text, [manifest.release]);
}

/** The same release for a loader that cannot verify: `unverified.ipxe`. Throws as `compileBootScript` does. */
export function compileUnverifiedScript(options: ReleaseScriptOptions): string {
  if (options.manifest.moduleCmdline !== undefined) return compileGrubOnly(options);
  return renderTemplate('unverified.ipxe', readTemplate('unverified.ipxe'), {
    ...releaseValues(options),
    release: value('release', options.manifest.release),
    initrds: initrdLines(options, 'initrd-unverified.ipxe', false),
  });
}

/** In the place of both, of a release with a module: iPXE has no command that gives one a line which a script holds. */
function compileGrubOnly({ manifest, manifestSha256 }: ReleaseScriptOptions): string {
  const text = renderTemplate('grub-only.ipxe', readTemplate('grub-only.ipxe'), {
    manifest: value('hex', digestOf(manifest, manifestSha256)),
    release: value('release', manifest.release),
    kernel: value('image', imageName(kernelPath(manifest))),
  });
  return linted('boot.ipxe', text, [manifest.release]);
}

export interface AutoexecOptions {
  /** Only ever from the operator's configuration file. */
  readonly allowUnverified: boolean;
  /** CN of the leaf that signs `boot.ipxe`: `boot.SITE`. */
  readonly bootSigner: string;
  readonly server: ScriptServer;
  /** Whose machines it is for; undefined: those that ask at the top. */
  readonly arch?: string;
  /** Whether the release has `uki.efi`, for an iPXE that cannot verify under firmware that does. */
  readonly uki?: boolean;
}

/** `autoexec.ipxe`, advice for a stock iPXE. Throws a `Refusal` (`unsafe-script`) for an unfit value. */
export function compileAutoexec(options: AutoexecOptions): string {
  const base = value('base', entryBase(baseOf(options.server), options.arch));
  const stock = options.allowUnverified
    ? fragment('autoexec-allow.ipxe', { 'server-settings': serverSettings(options.server), base })
    : fragment('autoexec-refuse.ipxe', {});
  const firmware = options.uki
    ? fragment('autoexec-uki.ipxe', { 'server-settings': serverSettings(options.server), base })
    : joinFragments([]);
  const text = renderTemplate('autoexec.ipxe', readTemplate('autoexec.ipxe'), {
    'server-settings': serverSettings(options.server),
    firmware,
    base,
    identity: identityQuery(),
    signer: value('signer', options.bootSigner),
    stock,
    reason: fragment('reason.ipxe', {}),
    'gave-up': gaveUp(baseOf(options.server)),
  });
  if (options.allowUnverified) return text;
  return linted('autoexec.ipxe', text, [options.bootSigner], options.uki ? ['firmware'] : []);
}

export interface EmbeddedOptions {
  /** `http://${next-server}:8080`, or a literal address without a slash at its end. */
  readonly base: string;
  /** First 16 hex digits of the SHA-256 of the CA certificate's DER. */
  readonly anchorId: string;
  /** CN that `boot.ipxe` must be signed by: `boot.SITE`. */
  readonly bootSigner: string;
  /** Host name or address of a time server. */
  readonly ntp?: string;
  /** Whose machines the loader is for, as `uname -m` says it there; undefined: it asks at the top. */
  readonly arch?: string;
}

/** The address that `embedded.ipxe` is rendered for unless the site names another. */
export const DEFAULT_BASE = `http://${SCRIPT_SETTINGS.server}:8080`;

/** `embedded.ipxe`, to build into a loader. Throws a `Refusal` (`unsafe-script`) for an unfit value. */
export function compileEmbedded(options: EmbeddedOptions): string {
  if (!/^[0-9a-f]{16}$/.test(options.anchorId)) {
    throw new Refusal(
      'unsafe-script',
      `${JSON.stringify(options.anchorId)} is no anchor: 16 hex digits are.`,
    );
  }
  const clock =
    options.ntp === undefined
      ? joinFragments([])
      : fragment('clock.ipxe', { host: value('host', options.ntp) });
  const text = renderTemplate('embedded.ipxe', readTemplate('embedded.ipxe'), {
    'server-settings': embeddedSettings(options.base),
    clock,
    base: value('base', entryBase(options.base, options.arch)),
    anchor: value('hex', options.anchorId),
    identity: identityQuery(),
    reason: fragment('reason.ipxe', {}),
    'gave-up': gaveUp(options.base),
    signer: value('signer', options.bootSigner),
  });
  return linted('embedded.ipxe', text, [options.bootSigner]);
}

/**
 * The kernel command line of a release as a script passes it, settings unexpanded: fixed words, free
 * parameters a script can fill, `initrd=` words, the manifest's digest.
 */
export function commandLine(options: ReleaseScriptOptions): string {
  const { manifest } = options;
  const given = freeWords(manifest, options.words ?? []);
  const words = withAdded(manifest.cmdline, [
    ...manifest.free.flatMap((free) => given.get(free.name) ?? freeWord(free, filesOf(options))),
    ...initrdsOf(manifest).map(({ name }) => `initrd=${name}`),
    `bootseal.manifest=${options.manifestSha256}`,
  ]);
  const bad = words.find((word) => !isCommandLineWord(withoutSettings(word)));
  if (bad !== undefined) {
    throw new Refusal('unsafe-script', `${JSON.stringify(bad)} is not fit for a kernel command line.`, {
      release: manifest.release,
    });
  }
  const line = words.join(' ');
  const kernel = manifest.files.find(({ role }) => role === 'kernel');
  if (longestCommandLine(kernel === undefined ? '' : imageName(kernel.path), words) > MAX_COMMAND_LINE) {
    throw new Refusal(
      'unsafe-script',
      `The command line of ${manifest.release} can exceed ${MAX_COMMAND_LINE} bytes; the kernel would cut it.`,
      {
        release: manifest.release,
      },
    );
  }
  return line;
}

function releaseValues(options: ReleaseScriptOptions): Record<string, Value> {
  const { manifest } = options;
  digestOf(manifest, options.manifestSha256);
  const kernel = manifest.files.find(({ role }) => role === 'kernel');
  if (kernel === undefined) {
    throw new Refusal('absent', `The manifest of ${manifest.release} lists no kernel.`, {
      release: manifest.release,
    });
  }
  return {
    'server-settings': serverSettings(options.server),
    kernel: value('image', imageName(kernel.path)),
    'kernel-path': value('path', kernel.path),
    files: value('base', loadedFrom(options)),
    'command-line': value('command-line', commandLine(options)),
  };
}

function digestOf({ release }: Manifest, sha256: string): string {
  if (/^[0-9a-f]{64}$/.test(sha256)) return sha256;
  throw new Refusal('unsafe-script', 'A manifest is named by 64 hex digits.', { release });
}

function initrdLines(options: ReleaseScriptOptions, template: string, sealed: boolean): Fragment {
  const { manifest } = options;
  return joinFragments(
    initrdsOf(manifest).map(({ name, path }) =>
      fragment(template, {
        name: value('image', name),
        files: value('base', loadedFrom(options)),
        path: value('path', path),
        ...(sealed
          ? {
              release: value('release', manifest.release),
              seal: value('path', path + sealSuffix(options)),
            }
          : {}),
      }),
    ),
  );
}

function sealSuffix({ sealSuffix: suffix = SEAL.ipxe }: ReleaseScriptOptions): string {
  return suffix;
}

/** Without a kernel nothing is rendered: `releaseValues` refuses first. */
function kernelPath({ files }: Manifest): string {
  return files.find(({ role }) => role === 'kernel')?.path ?? '';
}

/**
 * Overlays come last, since a later archive overrides files of an earlier one. iPXE finds the first image of a name, so
 * that a second one of the same would boot on the seal of the first: it gets a name of its own.
 */
function initrdsOf(manifest: Manifest): { name: string; path: string }[] {
  const of = (role: string) => manifest.files.filter((file) => file.role === role);
  const taken = new Set([SEAL_IMAGE, ...of('kernel').map(({ path }) => imageName(path))]);
  return [...of('initrd'), ...of('overlay')].map(({ path }) => {
    const own = imageName(path);
    let name = own;
    for (let count = 2; taken.has(name); count += 1) name = `${count}-${own}`;
    taken.add(name);
    return { name: imageName(name), path };
  });
}

function imageName(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (!isImageName(name))
    throw new Refusal('unsafe-script', `${JSON.stringify(name)} cannot name an image.`, { path });
  return name;
}

/** The parameters a script knows a value for; others stay unset, which the manifest allows. */
function freeWord({ name, type }: FreeParameter, files: string): string[] {
  const known: Readonly<Record<string, string>> = {
    'ip dhcp': 'dhcp',
    'BOOTIF mac': `01-${SCRIPT_SETTINGS.mac}`,
    'archiso_http_srv url': `${files}/`,
  };
  const text = known[`${name} ${type}`];
  if (text === undefined) return [];
  // Early userspace holds the command line against the manifest: what it would refuse is not sealed.
  if (!isFreeType(type) || !isOfType(withoutSettings(text), type)) {
    throw new Refusal('unsafe-script', `${name}=${text} is no ${type}; early userspace would refuse it.`, {
      name,
    });
  }
  return [`${name}=${text}`];
}

/** The address that a script fetches from, settings unexpanded. */
export function baseOf(server: ScriptServer): string {
  return server.kind === 'typed' ? `http://${SCRIPT_SETTINGS.server}:${SCRIPT_SETTINGS.port}` : server.url;
}

/** Where the scripts of an entry stand, `http://10.0.0.1:8080/entries/aarch64`. */
export function entryBase(base: string, arch: string | undefined): string {
  return arch === undefined ? base : `${base}/${entryFolder(arch)}`;
}

function filesOf({ server, manifest }: ReleaseScriptOptions): string {
  return `${baseOf(server)}/releases/${manifest.release}`;
}

/** Where a script fetches what it starts. */
function loadedFrom(options: ReleaseScriptOptions): string {
  const { server, manifest, through } = options;
  return through === undefined
    ? filesOf(options)
    : `${baseOf(server)}/${through}/releases/${manifest.release}`;
}

/** The port a typed address means unless the loader says otherwise. */
const DEFAULT_PORT = 8080;

export function serverSettings(server: ScriptServer): Fragment {
  return server.kind === 'typed'
    ? fragment('next-server.ipxe', { port: value('port', String(server.port ?? DEFAULT_PORT)) })
    : joinFragments([]);
}

/**
 * What the loader tells the scripts after it about the server it was built for, so that one sealed script
 * with typed settings follows every loader. A host name fits no typed setting: scripts for such a site are
 * sealed for its literal address.
 */
function embeddedSettings(base: string): Fragment {
  const parts = /^http:\/\/(\$\{next-server\}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::([0-9]+))?$/.exec(base);
  if (parts?.[1] === undefined) return joinFragments([]);
  const port = value('port', parts[2] ?? '80');
  return parts[1] === SCRIPT_SETTINGS.server
    ? fragment('next-server.ipxe', { port })
    : fragment('literal-server.ipxe', { host: value('host', parts[1]), port });
}

export function fragment(name: string, values: Readonly<Record<string, Value>>): Fragment {
  return renderFragment(name, readTemplate(name), values);
}

export function value(kind: ValueKind, text: string): Value {
  return { kind, text };
}

/** Returns the script, or throws what the linter found: a manifest must not be able to spell a way around it. */
export function linted(
  name: string,
  text: string,
  signers: readonly string[],
  permits: readonly LintPermit[] = [],
): string {
  const [finding] = lintScript(Buffer.from(text, 'latin1'), { signers, permits });
  if (finding === undefined) return text;
  throw new Refusal(
    'unsafe-script',
    `${name} would not be safe in line ${finding.line}: ${finding.message}`,
    {
      script: name,
      line: finding.line,
      rule: finding.rule,
    },
  );
}
