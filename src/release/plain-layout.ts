import { join } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { readBeneath } from '../files/beneath.ts';
import type { FreeParameter, FreeType } from '../formats/script/cmdline.ts';
import { splitCommandLine } from '../formats/script/cmdline.ts';
import { type LayoutDraft, NETWORK_PARAMETERS } from './layout-draft.ts';

/** `bootseal.toml` at the top of a plain tree: which file is which. */
const PLAIN = z.strictObject({
  release: z.string().optional(),
  arch: z.string().optional(),
  kernel: z.string(),
  initrd: z.array(z.string()).default([]),
  rootfs: z.string().optional(),
  overlay: z.string().optional(),
  cmdline: z.string().default(''),
  /** `NAME TYPE` pairs that a boot script may fill in. */
  free: z.array(z.string().regex(/^\S+ (ipv4|mac|dhcp|port|url)$/)).optional(),
});

const NAME = 'bootseal.toml';
/** Bytes. */
const LONGEST = 1024 * 1024;

/** Reads a plain tree's own file; without one everything comes from the operator's flags. */
export async function readPlainLayout(tree: string, hasFile: boolean): Promise<LayoutDraft> {
  if (!hasFile) return { family: 'plain', cmdline: [], free: NETWORK_PARAMETERS };
  const path = join(tree, NAME);
  const { bytes } = await readBeneath(tree, NAME, LONGEST);
  let raw: unknown;
  try {
    raw = parse(Buffer.from(bytes).toString());
  } catch (error) {
    throw new Refusal('malformed', `${path} is not TOML: ${(error as Error).message.split('\n')[0]}.`, {
      path,
    });
  }
  const result = PLAIN.safeParse(raw);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new Refusal('malformed', `${path}: ${issue?.path.join('.') || 'top level'}: ${issue?.message}.`, {
      path,
    });
  }
  const { initrd, cmdline, free, ...rest } = result.data;
  return {
    family: 'plain',
    kernel: rest.kernel,
    ...(rest.release === undefined ? {} : { release: rest.release }),
    ...(rest.arch === undefined ? {} : { arch: rest.arch }),
    ...(rest.rootfs === undefined ? {} : { rootfs: rest.rootfs }),
    ...(rest.overlay === undefined ? {} : { overlay: rest.overlay }),
    initrds: initrd,
    cmdline: splitCommandLine(cmdline),
    free: free?.map(parameter) ?? NETWORK_PARAMETERS,
  };
}

function parameter(text: string): FreeParameter {
  const [name = '', type = ''] = text.split(' ');
  return { name, type: type as FreeType };
}
