/** What a file of a release is for. */
export type Role = 'kernel' | 'initrd' | 'overlay' | 'rootfs' | 'hashtree';

/** One file that the manifest binds. */
export interface ManifestFile {
  readonly role: Role;
  /** Octets. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Lower-case hex. */
  readonly sha512: string;
  /** Relative to the tree, `/`-separated. */
  readonly path: string;
}

/** The types a free kernel parameter may have. */
export type FreeType = 'ipv4' | 'mac' | 'dhcp' | 'port' | 'url';

export interface FreeParameter {
  readonly name: string;
  readonly type: FreeType;
}

export interface Verity {
  /** Lower-case hex. */
  readonly rootHash: string;
  /** Lower-case hex, or `-` where there is none. */
  readonly salt: string;
  readonly dataBlocks: number;
  readonly path: string;
}

export interface FsVerity {
  /** Lower-case hex. */
  readonly digest: string;
  readonly path: string;
}

/** The signed list that binds a release together. Times are milliseconds since 1970, whole seconds. */
export interface Manifest {
  /** `arch/2026.11.01` */
  readonly release: string;
  /** YYYYMMDDNN or any growing number. */
  readonly serial: number;
  readonly issued: number;
  readonly bestBefore: number;
  readonly arch: string;
  /** The fixed words of the kernel command line, in order. */
  readonly cmdline: readonly string[];
  readonly free: readonly FreeParameter[];
  /** Whether early userspace may ever offer a shell. */
  readonly shell: boolean;
  readonly files: readonly ManifestFile[];
  readonly verity: readonly Verity[];
  readonly fsverity: readonly FsVerity[];
}
