/**
 * Lines that send UEFI machines to one image, by PXE and by HTTP Boot. Whether a machine enforces Secure Boot it does
 * not say over DHCP: one that does refuses every other loader by itself.
 *
 * @param image its path at the server.
 * @param arch `uname -m` of the machines.
 */
export function ukiDnsmasqLines(server: string, image: string, port: number, arch = 'x86_64'): string[] {
  const [pxe, http] = arch === 'aarch64' ? AARCH64 : X86_64;
  return [
    ...pxe.map((type) => `dhcp-match=set:bootseal-uki,option:client-arch,${type}`),
    `dhcp-boot=tag:bootseal-uki,${image},,${server}`,
    ...http.map((type) => `dhcp-match=set:bootseal-uki-http,option:client-arch,${type}`),
    // Firmware takes an offer without this word back for one that is not meant for it.
    'dhcp-option-force=tag:bootseal-uki-http,60,HTTPClient',
    `dhcp-boot=tag:bootseal-uki-http,http://${server}${port === 80 ? '' : `:${port}`}/${image}`,
  ];
}

/** UEFI over PXE and over HTTP (IANA's processor architecture types). */
const X86_64 = [[7, 9], [16]] as const;
const AARCH64 = [[11], [19]] as const;

/**
 * Lines for a dnsmasq that serves DHCP on the LAN: they send each kind of machine to the loader that can
 * verify there. Architectures are RFC 4578's, as corrected by its erratum (x64 is 7, and 9 in the field), and IANA's.
 *
 * @param server the address that machines fetch from.
 * @param loaders names of files; a kind without one gets no line.
 */
export function dnsmasqLines(
  server: string,
  loaders: { readonly bios?: string; readonly efi?: string; readonly arm64?: string },
): string[] {
  return LOADER_ARCHITECTURES.flatMap(([kind, types]) => {
    const file = loaders[kind];
    if (file === undefined) return [];
    const tag = `bootseal-${kind}`;
    return [
      ...types.map((type) => `dhcp-match=set:${tag},option:client-arch,${type}`),
      `dhcp-boot=tag:${tag},${file},,${server}`,
    ];
  });
}

const LOADER_ARCHITECTURES = [
  ['bios', [0]],
  ['efi', X86_64[0]],
  ['arm64', AARCH64[0]],
] as const;
