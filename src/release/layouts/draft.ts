import type { FreeParameter } from '../../formats/script/cmdline.ts';

/** Where early userspace of archiso and of an overlay fetches from. */
export const SERVER_PARAMETER: FreeParameter = { name: 'archiso_http_srv', type: 'url' };

/** Parameters of archiso that a boot script fills in for the machine and the LAN it finds itself in. */
export const NETWORK_PARAMETERS: readonly FreeParameter[] = [
  { name: 'ip', type: 'dhcp' },
  { name: 'BOOTIF', type: 'mac' },
  SERVER_PARAMETER,
];

/** What a layout's reader found, before the operator's word and the checks. */
export interface LayoutDraft {
  readonly release?: string;
  readonly arch?: string;
  /** What the tree's own file names, or its files show. */
  readonly layout?: string;
  readonly kernel?: string;
  /** The Linux that a multiboot kernel (Xen) starts. */
  readonly module?: string;
  readonly initrds?: readonly string[];
  readonly rootfs?: string;
  readonly overlay?: string;
  /** What goes into an initrd of the site's own: paths in the tree, each perhaps with `=` and its path there. */
  readonly pack?: readonly string[];
  /** What the system fetches later. */
  readonly files?: readonly string[];
  readonly cmdline: readonly string[];
  /** The words of the module. */
  readonly moduleCmdline?: readonly string[];
  /** Undefined: nothing was said. */
  readonly free: readonly FreeParameter[] | undefined;
}
