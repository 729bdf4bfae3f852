import { lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';

/** Where the overlay's init lies; `rdinit=` of a release that has one. */
export const OVERLAY_INIT = '/bootseal/init';

/** Whether the kernel starts the overlay's init: of several `rdinit=` it takes the last. */
export function startsOverlay(cmdline: string): boolean {
  return lastValue(splitCommandLine(cmdline), 'rdinit') === OVERLAY_INIT;
}

/** The kernel parameters that archiso's early userspace reads, with its defaults. */
export interface ArchisoParameters {
  /** `x86_64`, from `arch=` or the machine. */
  readonly arch: string;
  readonly basedir: string;
  /** On only when the last occurrence is exactly `y`. */
  readonly checksum: boolean;
  readonly verify: boolean;
  readonly cmsVerify: boolean;
  /** Ends in `/`; undefined where the command line names none. */
  readonly httpServer: string | undefined;
}

export function archisoParameters(cmdline: string, machineArch: string): ArchisoParameters {
  const words = splitCommandLine(cmdline);
  const text = (key: string) => lastValue(words, key);
  return {
    arch: text('arch') ?? machineArch,
    basedir: text('archisobasedir') ?? 'arch',
    checksum: text('checksum') === 'y',
    verify: text('verify') === 'y',
    cmsVerify: text('cms_verify') === 'y',
    httpServer: text('archiso_http_srv'),
  };
}
