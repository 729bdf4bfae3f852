import { Malformed } from '../../errors/malformed.ts';
import {
  formatSetting,
  isSettingType,
  PREDEFINED_SETTINGS,
  parseSetting,
  type SettingType,
  settingTag,
} from '../../formats/script/ipxe-settings.ts';
import type { SettingName } from '../../formats/script/ipxe-tokens.ts';
import { EINVAL, ENOMEM, ENOTSUP, type Status } from './failure.ts';

interface Stored {
  readonly type: SettingType | undefined;
  readonly octets: Uint8Array;
}

/** A setting's value, and how it reads as text. */
export interface FoundSetting {
  readonly octets: Uint8Array;
  readonly type: SettingType;
  readonly text: string | undefined;
  /** The block that held it: the empty string for the root, `net0`, `net0.dhcp`. */
  readonly origin: string;
}

/** Values that are computed when they are asked for, and how to take a new one. */
export interface LiveSetting {
  fetch(): Uint8Array | undefined;
  store?(octets: Uint8Array): Status;
}

/** Bytes of one value. iPXE's are bounded by its heap alone, and each is read again wherever it is named. */
const MAX_VALUE = 65536;

/** One block of the tree. */
class Block {
  readonly path: string;
  readonly children = new Map<string, Block>();
  readonly values = new Map<string, Stored>();
  readonly live = new Map<string, LiveSetting>();
  /** False for `builtin` and `smbios`, which take no new settings. */
  readonly writable: boolean;

  constructor(path: string, writable: boolean) {
    this.path = path;
    this.writable = writable;
  }
}

/**
 * iPXE's tree of settings. Source: `src/core/settings.c`.
 *
 * A name without a scope is looked for in the root first, then depth-first in its children: what a script
 * `set`s hides what DHCP said, and what DHCP said is used wherever a script forgot to `set`.
 */
export class Settings {
  private readonly root = new Block('', true);

  /** Creates a block. `path` is dotted; its parents must exist. */
  block(path: string, writable: boolean): void {
    const dot = path.lastIndexOf('.');
    const parent = this.find(dot < 0 ? '' : path.slice(0, dot));
    parent?.children.set(path.slice(dot + 1), new Block(path, writable));
  }

  /** Puts a computed setting into a block. */
  live(path: string, name: string, setting: LiveSetting): void {
    this.find(path)?.live.set(name, setting);
  }

  /** Value and text; undefined when there is no such block, type or setting. */
  fetch(name: SettingName): FoundSetting | undefined {
    const block = this.find(name.scope ?? '');
    if (block === undefined) return undefined;
    if (name.type !== undefined && !isSettingType(name.type)) return undefined;
    const found = search(block, keyOf(name.name));
    if (found === undefined) return undefined;
    const type =
      name.type ?? PREDEFINED_SETTINGS.get(nameOf(name.name))?.type ?? found.stored.type ?? 'string';
    const octets = found.stored.octets;
    return { octets, type, text: formatSetting(type, octets), origin: found.block.path };
  }

  /** The type that a value of this setting gets when it is stored by a script. */
  typeFor(name: SettingName): SettingType | undefined {
    if (name.type !== undefined) return isSettingType(name.type) ? name.type : undefined;
    return PREDEFINED_SETTINGS.get(nameOf(name.name))?.type ?? 'string';
  }

  /** Whether a script may name this setting at all: its type exists and, unless created, its block. */
  exists(name: SettingName, create: boolean): boolean {
    if (name.type !== undefined && !isSettingType(name.type)) return false;
    return create || this.find(name.scope ?? '') !== undefined;
  }

  /** Stores text as a script does; the empty text deletes. Blocks that do not exist come into being. */
  store(name: SettingName, type: SettingType, text: string): Status {
    if (text === '') return this.storeOctets(name, type, new Uint8Array());
    try {
      return this.storeOctets(name, type, parseSetting(type, text));
    } catch (error) {
      if (error instanceof Malformed) return EINVAL;
      throw error;
    }
  }

  storeOctets(name: SettingName, type: SettingType | undefined, octets: Uint8Array): Status {
    if (octets.length > MAX_VALUE) return ENOMEM;
    const block = this.vivify(name.scope ?? '');
    const live = block.live.get(name.name);
    if (live !== undefined) return live.store === undefined ? ENOTSUP : live.store(octets);
    if (!block.writable) return ENOTSUP;
    const key = keyOf(name.name);
    block.values.delete(key);
    if (octets.length > 0) block.values.set(key, { type, octets });
    return undefined;
  }

  private find(path: string): Block | undefined {
    let block: Block | undefined = this.root;
    for (const part of path.split('.')) {
      // `netX` is the interface that was opened last: there is only one here.
      if (part !== '')
        block = block?.children.get(part === 'netX' && path.startsWith('netX') ? 'net0' : part);
    }
    return block;
  }

  private vivify(path: string): Block {
    let block = this.root;
    for (const part of path.split('.')) {
      if (part === '') continue;
      const name = part === 'netX' ? 'net0' : part;
      let child = block.children.get(name);
      if (child === undefined) {
        child = new Block(block.path === '' ? name : `${block.path}.${name}`, true);
        block.children.set(name, child);
      }
      block = child;
    }
    return block;
  }
}

/** `filename`, `67` and `0x43` are one setting. */
function keyOf(name: string): string {
  const tag = PREDEFINED_SETTINGS.get(name)?.dhcp ?? settingTag(name);
  return tag === undefined ? name : `option ${tag}`;
}

function nameOf(name: string): string {
  const tag = settingTag(name);
  if (tag === undefined) return name;
  for (const [known, setting] of PREDEFINED_SETTINGS) if (setting.dhcp === tag) return known;
  return name;
}

function search(block: Block, key: string): { stored: Stored; block: Block } | undefined {
  const octets = block.live.get(key)?.fetch();
  if (octets !== undefined) return { stored: { type: undefined, octets }, block };
  const stored = block.values.get(key);
  if (stored !== undefined) return { stored, block };
  for (const child of block.children.values()) {
    const found = search(child, key);
    if (found !== undefined) return found;
  }
  return undefined;
}
