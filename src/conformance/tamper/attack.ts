import type { RefusalCode } from '../../errors/refusal.ts';
import type { Policy } from '../../trust/policy.ts';
import type { KnownSnapshot } from '../../trust/snapshot-check.ts';
import type { Column } from './matrix-columns.ts';
import type { TamperSite } from './site.ts';

/** The attacks that TUF's specification lists (§1.5), as far as a row here can show them. */
export type TufAttack =
  | 'arbitrary software'
  | 'endless data'
  | 'extraneous dependencies'
  | 'fast-forward'
  | 'freeze'
  | 'key compromise'
  | 'mix-and-match'
  | 'rollback'
  | 'wrong software';

/** What a column must make of an attack. Anything else is a deviation, a refusal for another reason too. */
export type Expectation =
  /** It must refuse, with one of these codes and no other. */
  | { readonly kind: 'must'; readonly codes: readonly RefusalCode[] }
  /** It cannot catch this by its design; where it happens to refuse, then with one of `or`. */
  | { readonly kind: 'misses'; readonly why: string; readonly or: readonly RefusalCode[] }
  /** Nothing that it reads was touched, so it says verified. */
  | { readonly kind: 'untouched' };

export const UNTOUCHED: Expectation = { kind: 'untouched' };

export function must(...codes: RefusalCode[]): Expectation {
  return { kind: 'must', codes };
}

export function misses(why: string, ...or: RefusalCode[]): Expectation {
  return { kind: 'misses', why, or };
}

export type Expectations = Readonly<Partial<Record<Column, Expectation>>>;

/** Expectations of the whole matrix, where both firmwares of iPXE behave alike. */
export function expects(wanted: Partial<Record<Exclude<Column, 'ipxe-efi'>, Expectation>>): Expectations {
  const tree = { ipxe: UNTOUCHED, grub: UNTOUCHED, archiso: UNTOUCHED, manifest: UNTOUCHED, tree: UNTOUCHED };
  const all = { ...tree, ...wanted };
  return { ...all, 'ipxe-efi': all.ipxe };
}

/** One way of breaking a release. */
export interface Attack {
  /** What `--attack` picks it by: `boot.ipxe: first byte flipped`. */
  readonly name: string;
  readonly tuf: TufAttack;
  /** A column that is missing here is not asked. */
  readonly expect: Expectations;
  /** Breaks the site's copy, or makes another tree; the matrix puts the copy right again afterwards. */
  stage(site: TamperSite): Promise<Staged>;
}

/** What the clients are then shown. Whatever is left out is as the untouched copy has it. */
export interface Staged {
  /** Another tree than the copy; removed after the attack unless it is to be kept. */
  readonly tree?: string;
  readonly keep?: true;
  /** The id under which the files are offered. */
  readonly release?: string;
  /** Further release ids under which the same files are offered: a server may lie about that. */
  readonly also?: readonly string[];
  readonly now?: number;
  /** What `verify` and `publish` are told; machines know nothing of it. */
  readonly treePolicy?: Policy;
  /** The kernel command line that archiso is started with. */
  readonly words?: (words: readonly string[]) => readonly string[];
  /** Further initrds that a loader gives to archiso: paths in the tree. */
  readonly initrds?: readonly string[];
  /** A path that the server sends without a length and without end. */
  readonly endless?: string;
  readonly snapshot?: OfferedSnapshot;
}

/** What a reader of a channel is shown, and what he knows of it. */
export interface OfferedSnapshot {
  readonly bytes: Uint8Array;
  readonly seal: Uint8Array;
  readonly known?: KnownSnapshot;
}
