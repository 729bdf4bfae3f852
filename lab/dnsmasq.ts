/** What DHCP tells the machines of the lab. */
export interface DhcpOptions {
  /** Boot file for a BIOS boot ROM. */
  readonly bios?: string;
  /** Boot file for UEFI x64 firmware. */
  readonly efi?: string;
  /** Boot file for UEFI firmware of arm64. */
  readonly arm64?: string;
  /** Boot file for iPXE, whatever the firmware. QEMU's own network ROMs are iPXE too and take this one. */
  readonly ipxe?: string;
  /** Where the boot file is; the lab's own address by default. */
  readonly nextServer?: string;
  /** A folder that dnsmasq then serves over TFTP; absent: TFTP is left to another server. */
  readonly tftpRoot?: string;
  /** True where a ProxyDHCP server on the same LAN names the boot file: iPXE is then left to wait for it. */
  readonly proxyDhcp?: boolean;
  /** Further dnsmasq arguments: what a hostile or odd DHCP server would say. */
  readonly extra?: readonly string[];
}

export interface DnsmasqPlace {
  readonly bridge: string;
  readonly address: string;
  /** `fd77::` */
  readonly prefix6: string;
  readonly leaseFile: string;
  readonly pidFile: string;
}

/** Client system architectures (RFC 4578 §2.1 as corrected by its erratum: x64 is 7, and 9 in the field). */
const EFI_X64 = [7, 9];
const EFI_ARM64 = 11;
const BIOS = 0;

/** dnsmasq for a lab LAN: DHCP, no DNS, and boot files that match the asking firmware. */
export function dnsmasqArguments(options: DhcpOptions, place: DnsmasqPlace): readonly string[] {
  const next = options.nextServer ?? place.address;
  const boot = (tag: string, file: string | undefined) =>
    file === undefined ? [] : [`--dhcp-boot=tag:${tag},${file},,${next}`];
  return [
    '--conf-file=/dev/null',
    '--keep-in-foreground',
    '--log-facility=-',
    '--log-dhcp',
    '--user=root',
    '--port=0',
    `--interface=${place.bridge}`,
    '--bind-interfaces',
    '--dhcp-authoritative',
    // Without this every offer waits for a ping that nobody answers.
    '--no-ping',
    '--dhcp-range=10.77.0.100,10.77.0.200,1h',
    // iPXE configures IPv4 and IPv6 at once and goes on when both have ended: without a router's answer IPv6
    // takes 16 s to give up, in every boot.
    '--enable-ra',
    `--dhcp-range=${place.prefix6},ra-only`,
    `--dhcp-leasefile=${place.leaseFile}`,
    `--pid-file=${place.pidFile}`,
    ...EFI_X64.map((type) => `--dhcp-match=set:efi,option:client-arch,${type}`),
    `--dhcp-match=set:arm64,option:client-arch,${EFI_ARM64}`,
    `--dhcp-match=set:bios,option:client-arch,${BIOS}`,
    // iPXE says who it is with its encapsulated options; the first rule that matches wins, so it comes first.
    '--dhcp-match=set:ipxe,175',
    // iPXE waits for a ProxyDHCP server unless its option 176 says that there is none.
    ...(options.proxyDhcp === true ? [] : ['--dhcp-option=encap:175,176,1b']),
    ...boot('ipxe', options.ipxe),
    ...boot('efi', options.efi),
    ...boot('arm64', options.arm64),
    ...boot('bios', options.bios),
    ...(options.tftpRoot === undefined ? [] : ['--enable-tftp', `--tftp-root=${options.tftpRoot}`]),
    ...(options.extra ?? []),
  ];
}
