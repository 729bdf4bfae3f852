import { linuxOf, type Manifest, type ManifestFile } from '../formats/records/manifest.ts';
import { NETWORK_ADDRESS } from './layouts/addresses.ts';
import { layoutNamed } from './layouts/all.ts';
import { SERVER_PARAMETER } from './layouts/draft.ts';
import type { FetchWord, LayoutKind, Verifying } from './layouts/kind.ts';

/** One thing that a machine of a release fetches or runs, and who checks it before it counts. */
export interface VerifiedThing {
  /** `file PATH`, `word KEY`, or what a system takes by its nature: no file can be called as the others. By this a policy
   * lets it go. */
  readonly name: string;
  /** For people: `live/filesystem.squashfs`, `fetch=http://…: the root image`. */
  readonly what: string;
  readonly by: Verifying;
  /** By which check; why not, where nobody does. */
  readonly how: string;
}

/** The init of an overlay, as the kernel's last `rdinit=` starts it. */
const OVERLAY_INIT = 'rdinit=/bootseal/init';

/** Whether a machine of this release runs our early userspace, which verifies the manifest and says what came of it. */
export function startsOverlay(manifest: Manifest): boolean {
  return (
    linuxOf(manifest).cmdline.includes(OVERLAY_INIT) && manifest.files.some(({ role }) => role === 'overlay')
  );
}

/** The name of what a system looks for by itself. */
const OWN_DISKS = 'own-disks';

/**
 * Who verifies what of a release, out of its layout, its command line and its overlay. A manifest says what was signed;
 * this says which of it anybody will look at again on the machine, and what else the machine will take from a network.
 */
export function whoVerifies(manifest: Manifest): readonly VerifiedThing[] {
  const kind = layoutNamed(manifest.layout);
  const { cmdline: words } = linuxOf(manifest);
  const overlay = startsOverlay(manifest);
  const free = manifest.free.map(({ name, type }) => `${name}=${type === 'url' ? '://' : ''}`);
  const said = [...words, ...free];
  const fetched = wordsThatFetch(said, kind, overlay, manifest.files);
  const files = manifest.files.flatMap((file) => ofFile(file, kind, words, overlay, fetched));
  // Each word has a line of its own, whatever its value ends with: where bytes come from says nothing of what they are.
  const own = fetched.map(({ key, value, word: { what }, checked }) => ({
    name: `word ${key}`,
    what: `${value === '' ? key : `${key}=${brief(value)}`}: ${what}`,
    ...verdict(checked, `${kind.name} takes it as it comes`),
  }));
  const searched =
    !overlay &&
    !fetched.some(({ word }) => word.root) &&
    !words.some((word) => kind.searches?.unless.test(word)) &&
    kind.searches?.what;
  const found = searched
    ? [
        {
          name: OWN_DISKS,
          what: searched,
          by: 'nobody' as const,
          how: `${kind.name} takes the first that fits`,
        },
      ]
    : [];
  const always = (kind.always ?? [])
    .filter(({ unless }) => !unless?.(said))
    .map(({ what, by, how }) => ({ name: what, what, by, how }));
  return [...files, ...own, ...found, ...always];
}

/** What nobody verifies. */
export function unverifiedThings(manifest: Manifest): readonly VerifiedThing[] {
  return whoVerifies(manifest).filter(({ by }) => by === 'nobody');
}

interface Fetched {
  readonly key: string;
  readonly value: string;
  readonly word: FetchWord;
  readonly checked: string | undefined;
}

const ROOT: Pick<FetchWord, 'what' | 'root'> = { what: 'the root image', root: true };
const DISK = { when: /./, what: 'a disk of the network' };
/** Words of Linux itself, and of early userspace of several systems. */
const COMMON: readonly FetchWord[] = [
  ...['nfsroot', 'netroot', 'nbdroot', 'cifsroot'].map((key) => ({ ...ROOT, key, when: /^/ })),
  { ...ROOT, key: 'root', when: /^(\/dev\/(nfs|cifs|nbd|etherd\/)|dhcp6?$|netroot$)/ },
  { ...ROOT, key: 'root' },
  { ...ROOT, key: 'boot', when: /^nfs$/ },
  ...['fcoe', 'aoe', 'rd.iscsi.firmware', 'iscsi_firmware', 'rd.nvmf.discover', 'rd.nvmf.hostnqn'].map(
    (key) => ({
      ...DISK,
      key,
    }),
  ),
  ...['ISCSI_TARGET_IP', 'ISCSI_TARGET_NAME', 'iscsi_target_ip', 'netroot_iscsi'].map((key) => ({
    ...DISK,
    key,
  })),
  ...['systemd.mount-extra', 'rd.systemd.mount-extra'].map((key) => ({
    key,
    when: /./,
    what: 'a file system over the root',
  })),
  ...['cloud-config-url', 'ci.ds', 'ci.datasource.dslist'].map((key) => ({
    key,
    when: /./,
    what: 'the configuration (cloud-init)',
  })),
];
/** Any other word with an address in it is fetched by somebody, and nothing is known of a check. */
const ANY: FetchWord = { key: '', when: NETWORK_ADDRESS, what: 'what it names' };
/** Words that name a way to the network, or where to write, and fetch nothing. */
const NO_FETCH = /^((https?|ftp|no|inst\.|mirror\/https?\/)_?proxy|inst\.proxy|proxy|console|nameserver)$/i;

function wordsThatFetch(
  words: readonly string[],
  kind: LayoutKind,
  overlay: boolean,
  files: readonly ManifestFile[],
): readonly Fetched[] {
  const known = [kind, ...(kind.includes ?? [])].flatMap(({ fetches }) => fetches);
  // What our overlay and archiso fetch from there are the files of the release, which have lines of their own.
  const rooted = files.some(({ role }) => role === 'rootfs');
  const own = rooted && (overlay || kind.name === 'archiso') ? SERVER_PARAMETER.name : undefined;
  return words.flatMap((text) => {
    const at = text.indexOf('=');
    const key = at < 0 ? text : text.slice(0, at);
    const read = kind.keyOf?.(key) ?? key;
    const value = at < 0 ? '' : text.slice(at + 1);
    if (key === own) return [];
    const of = (word: FetchWord) => (word.when ?? NETWORK_ADDRESS).test(value);
    const mine = known.filter((word) => word.key === read);
    const others =
      mine.length > 0 || NO_FETCH.test(key) ? [] : [...COMMON.filter((word) => word.key === key), ANY];
    const word = [...mine, ...others].find(of);
    // Under an overlay no other root than the verified one is entered, whatever names one.
    if (word?.root && overlay) return [];
    return word ? [{ key, value, word, checked: word.checked?.(value, files) }] : [];
  });
}

function ofFile(
  { role, path }: ManifestFile,
  kind: LayoutKind,
  words: readonly string[],
  overlay: boolean,
  fetched: readonly Fetched[],
): readonly VerifiedThing[] {
  const thing = { name: `file ${path}`, what: path };
  switch (role) {
    case 'hashtree':
      return [];
    case 'rootfs':
      if (overlay) return [{ ...thing, by: 'overlay', how: 'its digests, by the signed manifest' }];
      return [
        { ...thing, ...verdict(rootCheck(kind, words, fetched), `${called(kind)} takes it as it comes`) },
      ];
    case 'file': {
      const by = fetched.find(({ value }) => value.endsWith(`/${path}`));
      return [{ ...thing, ...verdict(by?.checked, `${called(kind)} takes it as it comes`) }];
    }
    default:
      return [{ ...thing, by: 'loader', how: 'its seal' }];
  }
}

function rootCheck(
  kind: LayoutKind,
  words: readonly string[],
  fetched: readonly Fetched[],
): string | undefined {
  const [way, ...others] = fetched.filter(({ word }) => word.root);
  if (way === undefined) return kind.checksRoot?.(words);
  return others.every(({ checked }) => checked !== undefined) ? way.checked : undefined;
}

function called({ name }: LayoutKind): string {
  return name === 'plain' ? 'a system that is not known here' : name;
}

function verdict(checked: string | undefined, otherwise: string): Pick<VerifiedThing, 'by' | 'how'> {
  return checked === undefined ? { by: 'nobody', how: otherwise } : { by: 'system', how: checked };
}

function brief(value: string): string {
  return value === '://' ? '(url)' : value.length > 60 ? `${value.slice(0, 60)}…` : value;
}
