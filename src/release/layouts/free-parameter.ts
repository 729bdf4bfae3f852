import type { FreeParameter, FreeType } from '../../formats/script/cmdline.ts';

/** `NAME TYPE`, as `bootseal.toml` and `--free` write it. Whether there is such a type is not asked. */
export function freeParameter(text: string): FreeParameter {
  const [name = '', ...type] = text.split(' ');
  return { name, type: type.join(' ') as FreeType };
}
