import { isCommandLineWord } from '../../formats/script/cmdline.ts';
import type { LayoutKind } from './kind.ts';
import { folderOf } from './tree-names.ts';

/** NixOS netboot: the one initrd holds the store's image, so it fetches nothing, and what the loader checks is all. */
export const nixos: LayoutKind = {
  name: 'nixos',
  async recognise(names) {
    const kernel = names.one(/(^|\/)bzImage$/, 'kernel');
    if (kernel === undefined) return undefined;
    const folder = folderOf(kernel);
    const script = await names.text(`${folder}netboot.ipxe`);
    const [, line] = /^kernel\s+\S+\s+(.*)$/m.exec(script ?? '') ?? [];
    if (!names.paths.includes(`${folder}initrd`) || line === undefined || !/\binit=\/nix\/store\//.test(line))
      return undefined;
    // Its own script ends with ${cmdline}, which is whoever boots it by hand's to fill in.
    const words = line.split(/\s+/).filter((word) => isCommandLineWord(word) && !word.startsWith('initrd='));
    return { kernel, initrds: [`${folder}initrd`], cmdline: words, free: [] };
  },
  marks: [/^boot\.(shell_on_fail|debug1)/],
  fetches: [],
  haltsOverlay: () =>
    'NixOS mounts by a table of its own, so no overlay can hand over to it; its initrd holds the root already.',
};
