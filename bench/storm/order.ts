/** What the program of a storm's machines is told, and tells. */

export interface Machine {
  readonly mac: string;
  readonly address: string;
}

export interface Order {
  readonly machines: readonly Machine[];
  readonly anchors: string;
  /** As whom they ask over DHCP: firmware is told a loader, the iPXE of a site a URL. */
  readonly network: 'firmware' | 'ipxe';
  /** What they fetch over TFTP first, in bytes. */
  readonly loader?: { readonly path: string; readonly size: number };
  /** Of which export they read how many pieces at the end; absent: they download the root image. */
  readonly reads?: { readonly name: string; readonly size: number; readonly count: number };
}

/** How one machine fared, in milliseconds since all were switched on. */
export interface Arrival {
  readonly told: number;
  readonly arrived: number;
  readonly verified: boolean;
  readonly cmdline: string;
  readonly refusal?: string;
}
