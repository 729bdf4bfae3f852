import { readdir } from 'node:fs/promises';
import type { Prerequisite } from '../../lab/prerequisites.ts';
import type { Curve } from './curve.ts';
import type { Part } from './row.ts';

/** A file of bench/growth exports one as `growth`. */
export interface Growth {
  readonly name: string;
  /** What it needs beside what the tests need. */
  readonly packages?: readonly Prerequisite[];
  run(context: { readonly folder: string; readonly quick: boolean; say(what: string): void }): Promise<Curve>;
}

/** Every part that there is, by name. */
export async function allParts(): Promise<readonly Part[]> {
  return byName((await modules('rows')).map(({ part }) => part as Part));
}

export async function allGrowth(): Promise<readonly Growth[]> {
  return byName((await modules('growth')).map(({ growth }) => growth as Growth));
}

async function modules(folder: string): Promise<readonly Record<string, unknown>[]> {
  const place = new URL(`../${folder}/`, import.meta.url);
  const names = (await readdir(place)).filter((name) => name.endsWith('.js'));
  return Promise.all(names.map((name) => import(new URL(name, place).href)));
}

function byName<T extends { readonly name: string }>(all: readonly T[]): readonly T[] {
  return [...all].sort((one, other) => (one.name < other.name ? -1 : 1));
}
