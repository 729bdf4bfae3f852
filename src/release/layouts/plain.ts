import { join } from 'node:path';
import { z } from 'zod';
import { readBeneath } from '../../files/beneath.ts';
import { parseOperatorFile } from '../../files/operator-file.ts';
import { isLayoutName } from '../../formats/records/manifest.ts';
import { FREE_TYPES, isFreeType, splitCommandLine } from '../../formats/script/cmdline.ts';
import type { LayoutDraft } from './draft.ts';
import { freeParameter } from './free-parameter.ts';

const NAME = 'bootseal.toml';
/** Bytes. */
const LONGEST = 1024 * 1024;

/** `bootseal.toml` at the top of a plain tree: which file is which. */
const PLAIN = z.strictObject({
  release: z.string().optional(),
  arch: z.string().optional(),
  /** The kind of system it is. */
  layout: z
    .string()
    .refine(isLayoutName, 'is no name of a layout: small letters, digits and dashes')
    .optional(),
  /** Without it the rest of the tree is looked at. */
  kernel: z.string().optional(),
  /** The Linux that the kernel starts where that is a hypervisor, and its words. */
  module: z.string().optional(),
  'module-cmdline': z.string().optional(),
  initrd: z.array(z.string()).optional(),
  rootfs: z.string().optional(),
  overlay: z.string().optional(),
  /** What the system fetches by itself: a preseed, an Ignition configuration, a device tree. */
  files: z.array(z.string()).optional(),
  /** What goes into an initrd of the site's own. */
  pack: z.array(z.string()).optional(),
  cmdline: z.string().optional(),
  /** `NAME TYPE` pairs that a boot script may fill in. */
  free: z
    .array(z.string().refine((text) => isFreeType(freeParameter(text).type), `is not NAME and ${FREE_TYPES}`))
    .optional(),
});

/**
 * Reads a tree's own file: what it says, and nothing else.
 *
 * @throws UsageError for a file that cannot be meant; IoError for one that cannot be read.
 */
export async function readPlainLayout(tree: string): Promise<Partial<LayoutDraft>> {
  const { bytes } = await readBeneath(tree, NAME, LONGEST);
  const file = parseOperatorFile(join(tree, NAME), Buffer.from(bytes).toString(), PLAIN);
  const { initrd: initrds, cmdline, free, 'module-cmdline': moduleCmdline, ...rest } = file;
  const said = {
    ...{ ...rest, initrds },
    cmdline: cmdline === undefined ? undefined : splitCommandLine(cmdline),
    moduleCmdline: moduleCmdline === undefined ? undefined : splitCommandLine(moduleCmdline),
    free: free?.map(freeParameter),
  };
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
}
