import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { unreadable } from '../errors/unreadable.ts';
import type { PulledMirror } from '../mirrors/mirror-pool.ts';
import type { Cell } from './table.ts';
import { octets, type Terminal } from './terminal.ts';

/** What the commands that fetch from mirrors have in common. */

const STYLES = { good: 'good', behind: 'dim', dropped: 'bad', unreachable: 'bad' } as const;

export function showMirrors(terminal: Terminal, mirrors: readonly PulledMirror[]): void {
  terminal.table(
    ['mirror', 'standing', 'sent', 'why'],
    mirrors.map(({ mirror, standing, octets: sent, refusal }): Cell[] => [
      { text: mirror },
      { text: standing, style: STYLES[standing] },
      { text: octets(sent) },
      { text: refusal?.message ?? '', style: 'dim' },
    ]),
  );
  terminal.print();
}

export async function readOr(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

export function words(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

export function count(text: string): number {
  if (!/^[1-9][0-9]{0,2}$/.test(text)) throw new InvalidArgumentError('A number from 1 to 999.');
  return Number(text);
}
