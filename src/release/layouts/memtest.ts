import type { LayoutKind } from './kind.ts';

/** memtest86+: one file that fetches nothing. */
export const memtest: LayoutKind = {
  name: 'memtest',
  async recognise(names) {
    const kernel = names.one(/(^|\/)(memtest|mt86plus)[^/]*(\.bin|\.efi|x64|ia32)$/, 'kernel');
    return kernel === undefined ? undefined : { kernel, initrds: [], cmdline: [], free: [] };
  },
  marks: [],
  fetches: [],
};
