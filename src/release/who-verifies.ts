import { linuxOf, type Manifest, type ManifestFile } from '../formats/records/manifest.ts';
import { NETWORK_ADDRESS } from './layouts/addresses.ts';
import { layoutNamed } from './layouts/all.ts';
import { SERVER_PARAMETER } from './layouts/draft.ts';
import type { FetchWord, LayoutKind, Verifying } from './layouts/kind.ts';

/** One thing that a machine of a release fetches or runs, and who checks it before it counts. */
export interface VerifiedThing {
  /** A path of the release, the key of a word, or what a system fetches by its nature. A policy allows it by this. */
  readonly name: string;
  /** For people: `live/filesystem.squashfs`, `fetch=http://…: the root image`. */
  readonly what: string;
  readonly by: Verifying;
  /** By which check; why not, where nobody does. */
  readonly how: string;
}

/** The init of an overlay, as the kernel's last `rdinit=` starts it. */
const OVERLAY_INIT = 'rdinit=/bootseal/init';

/** The name of what a system looks for by itself. */
const OWN_DISKS = 'own-disks';

/**
 * Who verifies what of a release, out of its layout, its command line and its overlay. A manifest says what was signed;
 * this says which of it anybody will look at again on the machine, and what else the machine will take from a network.
 */
export function whoVerifies(manifest: Manifest): readonly VerifiedThing[] {
  const kind = layoutNamed(manifest.layout);
  const { cmdline: words } = linuxOf(manifest);
  const overlay = words.includes(OVERLAY_INIT) && manifest.files.some(({ role }) => role === 'overlay');
  const free = manifest.free.map(({ name, type }) => `${name}=${type === 'url' ? '://' : ''}`);
  const said = [...words, ...free];
  const fetched = wordsThatFetch(said, kind, overlay);
  const files = manifest.files.flatMap((file) => ofFile(file, kind, words, overlay, fetched));
  const own = fetched
    .filter(({ value }) => !manifest.files.some(({ path }) => value.endsWith(path)))
    .map(({ key, value, word: { what }, checked }) => ({
      name: key,
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

/** Words of Linux itself, and of early userspace of several systems. */
const COMMON: readonly FetchWord[] = [
  { key: 'nfsroot', when: /./, what: 'the root image', root: true },
  { key: 'netroot', when: /./, what: 'the root image', root: true },
  { key: 'root', when: /^\/dev\/nfs$/, what: 'the root image', root: true },
  { key: 'root', what: 'the root image', root: true },
];
/** Any other word with an address in it is fetched by somebody, and nothing is known of a check. */
const ANY: FetchWord = { key: '', when: NETWORK_ADDRESS, what: 'what it names' };
/** Words that name a way to the network, or where to write. */
const NO_FETCH = /(^|[/._-])(proxy|console|syslog|ntp|nameserver|rd\.znet|vconsole)$/;

function wordsThatFetch(words: readonly string[], kind: LayoutKind, overlay: boolean): readonly Fetched[] {
  const known = [kind, ...(kind.includes ?? [])].flatMap(({ fetches }) => fetches);
  // What our overlay and archiso fetch from there are the files of the release, which have lines of their own.
  const own = overlay || kind.name === 'archiso' ? SERVER_PARAMETER.name : undefined;
  return words.flatMap((text) => {
    const at = text.indexOf('=');
    const key = at < 0 ? text : text.slice(0, at);
    const read = kind.keyOf?.(key) ?? key;
    const value = at < 0 ? '' : text.slice(at + 1);
    if (key === own || NO_FETCH.test(key)) return [];
    const of = (word: FetchWord) => (word.when ?? NETWORK_ADDRESS).test(value);
    const mine = known.filter((word) => word.key === read);
    const others = mine.length > 0 ? [] : [...COMMON.filter((word) => word.key === key), ANY];
    const word = [...mine, ...others].find(of);
    // Under an overlay no other root than the verified one is entered, whatever names one.
    if (word?.root && overlay) return [];
    return word ? [{ key, value, word, checked: word.checked?.(value) }] : [];
  });
}

function ofFile(
  { role, path }: ManifestFile,
  kind: LayoutKind,
  words: readonly string[],
  overlay: boolean,
  fetched: readonly Fetched[],
): readonly VerifiedThing[] {
  const thing = { name: path, what: path };
  switch (role) {
    case 'hashtree':
      return [];
    case 'rootfs':
      if (overlay) return [{ ...thing, by: 'overlay', how: 'its digests, by the signed manifest' }];
      return [
        { ...thing, ...verdict(rootCheck(kind, words, fetched), `${called(kind)} takes it as it comes`) },
      ];
    case 'file': {
      const by = fetched.find(({ value }) => value.endsWith(path));
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
